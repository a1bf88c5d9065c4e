"""A video's frames -> clips for training: one scene each, of one length and size, with a motion score and a mark.

Memory holds one clip at a time, however long the video. Knows frames, no model.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from sfv.data.settings import ClipPlan
from sfv.errors import SfvError
from sfv.media import fit, flow
from sfv.media.pictures import Uint8Picture
from sfv.types import Frames

FLOW_SIDE = 256
"""Short side at which motion is measured, so that scores compare across resolutions."""


@dataclass(frozen=True)
class Window:
    """One clip: its pixels, where it began (in resampled frames), how it moves and what it looks like."""

    frames: Frames
    first: int
    motion: float
    mark: int


@dataclass(frozen=True)
class Left:
    """What was left out of a video, and why."""

    first: int
    why: str


def windows(pictures: Iterable[Uint8Picture], plan: ClipPlan) -> Iterator[Window | Left]:
    """Cut a resampled video into clips; what is too short, too still or too wild comes out as Left."""
    count = 0
    for first, scene in clips_of_scenes(pictures, plan):
        if len(scene) < plan.frames:
            yield Left(first, f"{len(scene)} frames before a cut or the end, fewer than {plan.frames}")
            continue
        if count == plan.max_clips:
            yield Left(first, f"more than {plan.max_clips} clips in one video")
            return
        height, width = nearest(plan.buckets(), *scene[0].shape[:2])
        motion = motion_score(torch.stack(scene))
        if not plan.min_motion <= motion <= plan.max_motion:
            yield Left(first, f"motion {motion:.2f} is outside {plan.min_motion:g} to {plan.max_motion:g}")
            continue
        frames = torch.stack([fit(p, height, width, plan.fit, "black") for p in scene])
        count += 1
        yield Window(frames, first, motion, difference_hash(frames))


def clips_of_scenes(pictures: Iterable[Uint8Picture], plan: ClipPlan) -> Iterator[tuple[int, list[Uint8Picture]]]:
    """(index of the first frame, up to `frames` pictures of one scene).

    A new scene is taken to change by `cut` from frame to frame until its own pace is known: a busy one is not cut up.
    """
    held: list[Uint8Picture] = []
    first, usual, before = 0, plan.cut, None
    for i, picture in enumerate(pictures):
        small = thumbnail(picture, 32)
        change = float((small - before).abs().mean()) if before is not None else 0.0
        cut = change > plan.cut and change > 3 * usual
        usual, before = (plan.cut if cut else 0.7 * usual + 0.3 * change), small
        if held and (cut or len(held) == plan.frames):
            yield first, held
            held = []
        first = first if held else i
        held.append(picture)
    if held:
        yield first, held


def thumbnail(picture: Uint8Picture, side: int) -> Tensor:
    """(3, side, side) in [0, 1], area-averaged."""
    return F.adaptive_avg_pool2d(picture.permute(2, 0, 1).float() / 255, side)


def nearest(buckets: list[tuple[int, int]], height: int, width: int) -> tuple[int, int]:
    """The bucket whose aspect ratio is nearest, in logarithm."""
    return min(buckets, key=lambda b: abs(math.log(b[0] / b[1]) - math.log(height / width)))


def motion_score(frames: Frames) -> float:
    """Mean optical flow in pixels per frame, at a short side of FLOW_SIDE; to 3 digits, the same on any machine."""
    short = min(frames.shape[1:3])
    height, width = (round(n * FLOW_SIDE / short) for n in frames.shape[1:3])
    small = F.interpolate(frames.permute(0, 3, 1, 2).float(), (height, width), mode="bilinear", antialias=True)
    return round(float(flow(small.round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1)).mean()), 3)


def difference_hash(frames: Frames) -> int:
    """192 bits: whether brightness rises from left to right on an 8 x 8 grid of the first, middle and last frame.

    Copies in another size, codec or slight grade differ in few bits.
    """
    bits = []
    for at in (0, len(frames) // 2, len(frames) - 1):
        grey = frames[at].permute(2, 0, 1).float().mean(0, keepdim=True)
        small = F.adaptive_avg_pool2d(grey, (8, 9))[0]
        bits += (small[:, 1:] > small[:, :-1] + 0.5).flatten().tolist()
    return sum(1 << i for i, bit in enumerate(bits) if bit)


def duplicates(marks: list[int], most: int = 8) -> dict[int, int]:
    """Index of every mark that differs from an earlier one in at most `most` bits -> the index of that one.

    Two marks within 8 bits agree on at least one of 12 groups of 16 bits, so only those are compared.
    """
    if most >= 12:
        raise SfvError(f"at most 11 differing bits can be searched for, not {most}")
    seen: dict[tuple[int, int], list[int]] = {}
    found: dict[int, int] = {}
    for i, mark in enumerate(marks):
        groups = [(g, mark >> 16 * g & 0xFFFF) for g in range(12)]
        near = sorted({j for group in groups for j in seen.get(group, ())})
        twin = next((j for j in near if (marks[j] ^ mark).bit_count() <= most), None)
        if twin is not None:
            found[i] = twin
            continue
        for group in groups:
            seen.setdefault(group, []).append(i)
    return found
