"""The best file under a platform's limits: frames a second and quality are lowered until it fits."""

import math
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from sfv.errors import SfvError
from sfv.generation.clip import Clip
from sfv.limits import played
from sfv.media import write_clip
from sfv.platforms.table import ATTEMPTS, KB, Platform, platform
from sfv.system.files import replacing
from sfv.types import Frames, Stickers


@dataclass(frozen=True)
class Written:
    """How a file came under its limits."""

    path: Path
    bytes: int
    fps: float
    frames: int
    level: int | None
    """crf of webm, quality of webp, colours of gif and png."""

    def __str__(self) -> str:
        return f"{self.bytes / KB:.0f} KB, {self.frames} frames at {self.fps:.3g} a second"


def write_for(clip: Clip, name: str, path: Path | str, note: str = "") -> Written:
    """Write a finished clip as a platform takes it, the best of the table's attempts that fits.

    The clip is one of `settings_for`. SfvError if it lasts too long, no attempt is small enough, or the path ends in
    another format's ending.
    """
    wanted, path = platform(name), Path(path)
    if path.suffix.lower() != f".{wanted.format}":
        raise SfvError(f"{path}: {name} takes {wanted.format}; let the name end in .{wanted.format}")
    frames = clip.frames if clip.alpha is None else clip.stickers()
    seconds = _lasts(clip)
    if seconds > wanted.most_seconds + 1e-6:
        raise SfvError(
            f"the clip lasts {seconds:.2f} s; {name} takes {wanted.most_seconds:g} s at most: give --seconds"
        )
    tries = _tries(wanted, seconds, clip.fps)
    with TemporaryDirectory(dir=path.parent, prefix=".sfv-") as folder:
        best = _smallest_change(frames, seconds, tries, wanted, Path(folder), note)
        if best is None:
            smallest = min(p.stat().st_size for p in Path(folder).iterdir())
            raise SfvError(
                f"{path.name}: {name} takes {wanted.most_bytes / KB:g} KB at most, and the smallest try has "
                f"{smallest / KB:.0f} KB; give a plainer picture, or a shorter clip by --seconds"
            )
        made, found = best
        with replacing(path) as beside:
            beside.write_bytes(found.read_bytes())
    return Written(path, path.stat().st_size, made[0], _count(seconds, made[0]), made[1])


def plays(wanted: Platform, seconds: float) -> int:
    """How often a file of so many seconds says that it is shown; 0: for ever."""
    return min(wanted.most_plays, max(1, math.floor(wanted.most_seconds / seconds + 1e-6)))


def _lasts(clip: Clip) -> float:
    """Seconds of a clip; of a round that is played in a rounded number of frames, what it was asked to last."""
    want, shown = clip.settings, len(clip.frames) / clip.fps
    if want.play_fps is None or want.boomerang or want.frames is None or want.fps is None:
        return shown
    return want.frames / want.fps if len(clip.frames) == played(want.frames, want.fps, want.play_fps) else shown


Try = tuple[float, int | None]


def _tries(wanted: Platform, seconds: float, most: float) -> list[Try]:
    """Frames a second that the platform, the clip and its length allow, each with its levels."""
    fewest, many = wanted.frames
    tries = list[Try]()
    for fps, level in ATTEMPTS[wanted.format]:
        count = min(many, max(fewest, _count(seconds, min(fps, wanted.most_fps, most))))
        if (one := (count / seconds, level)) not in tries:
            tries.append(one)
    return tries


def _count(seconds: float, fps: float) -> int:
    return max(2, round(seconds * fps))


def _smallest_change(
    frames: Frames | Stickers, seconds: float, tries: list[Try], wanted: Platform, folder: Path, note: str
) -> tuple[Try, Path] | None:
    """The first try that fits, by halving: each is smaller than the one before, or nearly."""

    def made(i: int) -> Path:
        target = folder / f"{i}.{wanted.format}"
        if not target.exists():
            fps, level = tries[i]
            count = _count(seconds, fps)
            kept = torch.arange(count) * len(frames) // count
            write_clip(frames[kept], target, fps, note, level, plays(wanted, seconds))
        return target

    low, high = 0, len(tries)
    while low < high:
        middle = (low + high) // 2 if high - low < len(tries) else int(math.sqrt(len(tries)))
        if made(middle).stat().st_size <= wanted.most_bytes:
            high = middle
        else:
            low = middle + 1
    return (tries[high], made(high)) if high < len(tries) else None
