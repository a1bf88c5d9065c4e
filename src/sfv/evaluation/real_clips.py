"""Where a protocol's clips come from: real ones from a clip store or a folder of videos, made ones from a folder."""

import hashlib
import itertools
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch

from sfv.data.sources import Source, find
from sfv.data.stickers import Clip, ClipStore, over_background
from sfv.errors import SfvError
from sfv.evaluation.protocol import Protocol
from sfv.media import VIDEO_ENDINGS, Jump, at_rate, fit, stream_video
from sfv.media.pictures import Fitted, Uint8Picture, stretch
from sfv.media.pixels import to_frames
from sfv.types import Frames

T = TypeVar("T")
LEAST = 4
"""Clips, so that the real ones can be halved."""


@dataclass(frozen=True)
class RealClip:
    """One clip of the reference; frames are read when they are needed, so that any number fits in memory."""

    id: str
    name: str
    family: str
    read: Callable[[], Frames]


@dataclass(frozen=True)
class ClipSet:
    """A protocol's real clips, those from which axes are taken, what was left out and why, and a hash of all pixels."""

    clips: list[RealClip]
    basis: list[RealClip]
    left_out: list[str]
    digest: str


def open_set(data: Path, protocol: Protocol) -> ClipSet:
    """The protocol's clips of a clip store, or of a folder of videos; SfvError if there are too few."""
    if (data / "store.json").exists():
        store = ClipStore(data)
        clips, left, basis = _of_store(store, protocol), list[str](), _basis(store, protocol)
    else:
        clips, left = _of_videos(data, protocol)
        basis = []
    if protocol.clips and len(clips) < protocol.clips or len(clips) < LEAST:
        wants = max(protocol.clips or 0, LEAST)
        why = f"; {len(left)} were left out, first: {left[0]}" if left else ""
        most = (
            f"at most {protocol.per_family} of a family, or of one folder, count: sort videos into folders by subject"
        )
        raise SfvError(
            f"{data} has {len(clips)} clips for protocol {protocol.name!r}, which needs {wants} ({most}){why}"
        )
    digest = hashlib.sha256()
    for clip in [*clips, *basis]:
        digest.update(clip.id.encode() + clip.read().numpy().tobytes())
    return ClipSet(clips, basis, left, digest.hexdigest()[:16])


def _of_store(store: ClipStore, protocol: Protocol) -> list[RealClip]:
    rate = store.fps / protocol.fps
    if abs(rate - round(rate)) > 1e-6 and not protocol.whole:
        raise SfvError(f"{store.folder} has {store.fps} frames a second; protocol fps {protocol.fps:g} must divide it")
    if store.size != protocol.height or store.size != protocol.width:
        size = f"{protocol.height}x{protocol.width}"
        raise SfvError(f"{store.folder} holds {store.size}x{store.size} clips, protocol {protocol.name!r} wants {size}")
    members = store.split(protocol.split)
    if not members:
        raise SfvError(f"{store.folder} has no clips of split {protocol.split!r}; use train or val")
    return [_real(store, c, protocol) for c in _pick(members, lambda c: c.family, protocol)]


def _real(store: ClipStore, clip: Clip, protocol: Protocol) -> RealClip:
    return RealClip(clip.id, clip.name, clip.family, lambda: sticker_frames(store, clip, protocol))


def sticker_frames(store: ClipStore, clip: Clip, protocol: Protocol) -> Frames:
    """From the rest pose, on white: at the protocol's rate, or one whole round of the nearest frames."""
    if protocol.whole:
        rgba = torch.cat([store.rgba(clip, i, 1, 1) for i in evenly_around(clip.count, protocol.frames)])
    else:
        rgba = store.rgba(clip, 0, protocol.frames, round(store.fps / protocol.fps))
    return to_frames(over_background(rgba, torch.ones(3, store.size, store.size))[None])


def evenly_around(count: int, frames: int) -> list[int]:
    """Which of `count` frames of a loop stand nearest to `frames` places evenly spread over its round."""
    return [(2 * k * count + frames) // (2 * frames) % count for k in range(frames)]


def _basis(store: ClipStore, protocol: Protocol) -> list[RealClip]:
    """Training clips, families evenly: fixed, and independent of what is judged."""
    seen: dict[str, Clip] = {}
    for clip in store.split("train"):
        seen.setdefault(clip.family, clip)
    return [_real(store, c, protocol) for c in list(seen.values())[: protocol.basis]]


def _pick(members: list[T], family: Callable[[T], str], protocol: Protocol) -> list[T]:
    """At most `per_family` of each family, spread over its members, then at most `clips`, in the protocol's order."""
    families: dict[str, list[T]] = defaultdict(list)
    for member in of_part(members, family, protocol.part):
        families[family(member)].append(member)
    picked = []
    for some in families.values():
        keep = min(protocol.per_family, len(some))
        picked += [some[i * len(some) // keep] for i in range(keep)]
    if protocol.order == "shuffled":
        rng = torch.Generator().manual_seed(protocol.seed)
        picked = [picked[i] for i in torch.randperm(len(picked), generator=rng).tolist()]
    return picked[: protocol.clips] if protocol.clips and protocol.order == "spread" else picked


def of_part(members: list[T], family: Callable[[T], str], part: str) -> list[T]:
    """Members of every other family, in the order of the names' SHA-256: the 1st, 3rd, ... are for selection, the
    2nd, 4th, ... for the report. As the order is that of hashes, neighbours in an alphabet fall apart by chance."""
    if part == "all":
        return members
    names = sorted({family(m) for m in members}, key=lambda name: hashlib.sha256(name.encode()).digest())
    mine = set(names[0 if part == "selection" else 1 :: 2])
    return [m for m in members if family(m) in mine]


def _of_videos(data: Path, protocol: Protocol) -> tuple[list[RealClip], list[str]]:
    """The first clip of each video, until there are enough; what cannot be read or is too short is left out."""
    found: list[RealClip] = []
    left: list[str] = []
    if protocol.whole:
        raise SfvError(f"{data} is no clip store (sfv pack); protocol {protocol.name!r} wants whole rounds of loops")
    try:
        sources = find([str(data)])
    except SfvError as error:
        raise SfvError(f"{data} is not a clip store (sfv pack), nor a place of videos: {error}") from error
    for source in _pick(sources, lambda s: Path(s.path).parent.name, protocol):
        if protocol.clips and len(found) == protocol.clips:
            break
        try:
            video_frames(source, protocol)
        except SfvError as error:
            left.append(str(error))
            continue
        name = Path(source.member or Path(source.path).relative_to(data.absolute())).with_suffix("")
        id_ = "__".join(name.parts)
        found.append(RealClip(id_, name.name, name.parent.name, lambda s=source: video_frames(s, protocol)))  # type: ignore[misc]
    return found, left


def video_frames(source: Source, protocol: Protocol) -> Frames:
    """What a player shows at 0, 1/fps, ... seconds, at the protocol's size; SfvError if it is too short.

    A jump of the file's clock is its end.
    """
    frames: list[Uint8Picture] = []
    for shown in itertools.islice(at_rate(stream_video(source.open(), source.id), protocol.fps), protocol.frames):
        if isinstance(shown, Jump):
            break
        frames.append(shown)
    if len(frames) < protocol.frames:
        raise SfvError(
            f"{source.id} is too short: {len(frames)} frames at {protocol.fps:g} fps of {protocol.frames} before it "
            "ends or its clock jumps"
        )
    return torch.stack([resized(f, protocol.height, protocol.width, protocol.fit) for f in frames])


def resized(picture: Uint8Picture, height: int, width: int, mode: str) -> Fitted:
    """By Pillow's Lanczos filter: padded, cropped, or stretched."""
    if picture.shape[:2] == (height, width):
        return picture
    return stretch(picture, height, width) if mode == "stretch" else fit(picture, height, width, mode)


def read_made(folder: Path, clips: list[RealClip], protocol: Protocol) -> Iterator[Frames]:
    """Clips that somebody made, FOLDER/ID.mp4 (or another video ending) for every real clip; checked one by one."""
    for clip in clips:
        yield _made(made_path(folder, clip), protocol)


def made_path(folder: Path, clip: RealClip) -> Path:
    """The file of a clip that somebody made; SfvError if there is none."""
    paths = [p for p in sorted(folder.glob(f"{clip.id}.*")) if p.suffix.lower() in VIDEO_ENDINGS]
    if not paths:
        raise SfvError(f"{folder} has no clip {clip.id}.mp4; name every clip by its picture (see pictures/)")
    return paths[0]


def _made(path: Path, protocol: Protocol) -> Frames:
    timed = list(stream_video(path))
    frames = torch.stack([f for _, f in timed])
    rate = (len(timed) - 1) / timed[-1][0] if len(timed) > 1 else 0.0
    want = f"protocol {protocol.name!r} measures {protocol.frames} frames at {protocol.fps:g} fps"
    if len(timed) != protocol.frames:
        raise SfvError(f"{path} has {len(timed)} frames; {want}")
    if abs(rate / protocol.fps - 1) > 0.02:
        raise SfvError(f"{path} plays at {rate:.3g} frames a second; {want}")
    size = (protocol.height, protocol.width)
    if frames.shape[1:3] != size and protocol.fit != "stretch":
        raise SfvError(
            f"{path} is {frames.shape[1]}x{frames.shape[2]}; protocol {protocol.name!r} wants {size[0]}x{size[1]}"
        )
    return torch.stack([resized(f, *size, protocol.fit) for f in frames])
