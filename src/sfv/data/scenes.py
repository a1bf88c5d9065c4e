"""A video's frames -> clips for training: one scene each, of one length and size, with a motion score and a mark.

Memory holds one clip at a time, however long the video. Knows frames, no model.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from sfv.data.settings import ClipPlan
from sfv.errors import SfvError
from sfv.media import Jump, fit, flow
from sfv.media.pictures import Uint8Picture
from sfv.types import Frames

FLOW_SIDE = 256
"""Short side at which motion is measured, so that scores compare across resolutions."""
NARROWEST = 16
"""How many times a clip's longer side may be the shorter one."""
ENOUGH = 32
"""Of 192 pairs of neighbours, how many must differ by 2 levels for two clips to be compared: a dark, plain or evenly
lit clip has no look."""
GRID = 16
"""Side of the grids by which two clips are compared at last."""
APART = 10.0
"""Levels (root mean square, after fitting brightness and contrast) from which two grids are different pictures."""


@dataclass(frozen=True)
class Look:
    """What a clip looks like at a glance.

    `bits`: whether brightness rises from left to right on an 8 x 8 grid of three frames; copies in another size, codec
    or slight grade differ in few of 192. `grid`: grey levels of the three, (3, GRID, GRID); empty for too plain a clip.
    """

    bits: int
    grid: bytes


@dataclass(frozen=True)
class Window:
    """One clip: its pixels, where it began (in resampled frames), how it moves and what it looks like."""

    frames: Frames
    first: int
    motion: float
    look: Look


@dataclass(frozen=True)
class Left:
    """What was left out of a video, and why."""

    first: int
    why: str


def windows(pictures: Iterable[Uint8Picture | Jump], plan: ClipPlan) -> Iterator[Window | Left]:
    """Cut a resampled video into clips; what is too short, too still or too wild comes out as Left, and every Jump."""
    count = 0
    for first, scene in clips_of_scenes(pictures, plan):
        if isinstance(scene, Jump):
            yield Left(first, str(scene))
            continue
        if len(scene) < plan.frames:
            yield Left(first, f"{len(scene)} frames before a cut or the end, fewer than {plan.frames}")
            continue
        if count == plan.max_clips:
            yield Left(first, f"more than {plan.max_clips} clips in one video")
            return
        if max(shape := scene[0].shape[:2]) > NARROWEST * min(shape):
            yield Left(first, f"{shape[1]}x{shape[0]} is more than {NARROWEST} times as long as it is wide")
            continue
        height, width = nearest(plan.buckets(), *shape)
        motion = motion_score(torch.stack(scene))
        if not plan.min_motion <= motion <= plan.max_motion:
            yield Left(first, f"motion {motion:.2f} is outside {plan.min_motion:g} to {plan.max_motion:g}")
            continue
        frames = torch.stack([fit(p, height, width, plan.fit, "black") for p in scene])
        count += 1
        yield Window(frames, first, motion, look(frames))


def clips_of_scenes(
    pictures: Iterable[Uint8Picture | Jump], plan: ClipPlan
) -> Iterator[tuple[int, list[Uint8Picture] | Jump]]:
    """(index of the first frame, up to `frames` pictures of one scene), and (index of the next frame, Jump) between.

    A new scene is taken to change by `cut` from frame to frame until its own pace is known: a busy one is not cut up.
    """
    held: list[Uint8Picture] = []
    count, pace = 0, Pace(plan.cut)
    for picture in pictures:
        ends = isinstance(picture, Jump) or pace.cuts(picture)
        if held and ends:
            yield count - len(held), held
            held = []
        if isinstance(picture, Jump):
            pace = Pace(plan.cut)
            yield count, picture
            continue
        held.append(picture)
        count += 1
        if len(held) == plan.frames:
            yield count - len(held), held
            held = []
    if held:
        yield count - len(held), held


class Pace:
    """How much a scene usually changes from frame to frame."""

    def __init__(self, cut: float) -> None:
        self.cut = self.usual = cut
        self.before: Tensor | None = None

    def cuts(self, picture: Uint8Picture) -> bool:
        """Whether this frame begins another scene than the one before it."""
        small = thumbnail(picture, 32)
        change = float((small - self.before).abs().mean()) if self.before is not None else 0.0
        cut = change > self.cut and change > 3 * self.usual
        self.usual, self.before = (self.cut if cut else 0.7 * self.usual + 0.3 * change), small
        return cut


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


def look(frames: Frames) -> Look:
    """What the first, middle and last frame show, for `duplicates`."""
    some = frames[[0, len(frames) // 2, len(frames) - 1]].permute(0, 3, 1, 2).float().mean(1, keepdim=True)
    coarse = F.adaptive_avg_pool2d(some, (8, 9))[:, 0]
    rises = (coarse[..., 1:] - coarse[..., :-1]).flatten()
    bits = sum(1 << i for i, rise in enumerate(rises.tolist()) if rise > 0.5)
    if int((rises.abs() > 2).sum()) < ENOUGH:
        return Look(bits, b"")
    return Look(bits, F.adaptive_avg_pool2d(some, GRID).round().to(torch.uint8).numpy().tobytes())


def alike(one: bytes, other: bytes) -> bool:
    """Whether two clips' grids show the same, in any grade: the same picture, and the same changes in it.

    Changes are the same if they differ, on average, by at most a level, or by half of what the two change themselves.
    """
    a, b = (np.frombuffer(g, np.uint8).reshape(3, -1).astype(np.float64) for g in (one, other))
    gain = float(((a - a.mean()) * (b - b.mean())).mean() / max(a.var(), 1e-6))
    if np.sqrt(np.mean((gain * (a - a.mean()) - (b - b.mean())) ** 2)) > APART:
        return False
    moved, also = gain * (a - a.mean(0)), b - b.mean(0)
    return float(np.abs(moved - also).mean()) <= max(1.0, float(np.abs(moved).mean() + np.abs(also).mean()) / 4)


def duplicates(looks: Sequence[Look], most: int = 8) -> dict[int, int]:
    """Index of every clip that looks like an earlier one -> the index of that one.

    First their bits are compared: at most `most` of 192 may differ. Two marks within 8 bits agree on at least one of 12
    groups of 16 bits, so only those are compared. What passes must be `alike` too. Clips with too little in them to
    tell (an empty grid) are compared with none.
    """
    if most >= 12:
        raise SfvError(f"at most 11 differing bits can be searched for, not {most}")
    seen: dict[tuple[int, int], list[int]] = {}
    found: dict[int, int] = {}
    for i, mine in enumerate(looks):
        if not mine.grid:
            continue
        groups = [(g, mine.bits >> 16 * g & 0xFFFF) for g in range(12)]
        near = sorted({j for group in groups for j in seen.get(group, ())})
        close = (j for j in near if (looks[j].bits ^ mine.bits).bit_count() <= most)
        twin = next((j for j in close if alike(looks[j].grid, mine.grid)), None)
        if twin is not None:
            found[i] = twin
            continue
        for group in groups:
            seen.setdefault(group, []).append(i)
    return found
