"""Whole loops with transparency: animations of a store, and stills that a program moves as one body.

Frames are RGBA in [0, 1], colours multiplied with alpha, shape (k, 4, size, size). Times are shares of the loop; any
time may start it. Knows files and tensors, no model.
"""

import io
import json
import math
import zipfile
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from sfv.data.stickers import FRAMES, STORE, STORED, Clip, ClipStore, by_family, draw, pack, random_background
from sfv.errors import SfvError
from sfv.media import read_sticker, replacing
from sfv.system.files import not_in_the_way

Layers = Float[Tensor, "k 4 h w"]
"""RGBA in [0, 1], colours multiplied with alpha."""
Theta = Float[Tensor, "k 2 3"]
"""Affine maps from places in a frame to places in the still, both in [-1, 1] (y grows downward)."""
PROGRAMS = ("real", "sway", "nod", "bounce", "pulse", "spin", "squash")
"""Kinds of motion by their id; 0 is an animation that somebody drew. People ask for them by `move` (settings.py)."""
STILLS, STILL_NAMES = "stills.u8", "stills.json"
STILL_SIDE = 256
PROGRAM_SECONDS = 3.0
ROOM = 0.85
"""Share of the frame's sides that a still has before it is moved, so that it stays inside."""


class Loop(ABC):
    """Something that moves and comes back to where it was."""

    seconds: float
    program: int
    """Index into PROGRAMS."""

    @abstractmethod
    def frames(self, times: Float[Tensor, " k"]) -> Layers:
        """Frames at shares of the loop; times outside [0, 1) wrap around."""


@dataclass(frozen=True)
class DrawnLoop(Loop):
    """An animation of a store."""

    store: ClipStore
    clip: Clip
    program: int = 0

    @property
    def seconds(self) -> float:  # type: ignore[override]
        """Of one round."""
        return self.clip.count / self.store.fps

    def frames(self, times: Float[Tensor, " k"]) -> Layers:
        """The nearest frames."""
        at = (times * self.clip.count).round().long() % self.clip.count
        rgba = torch.from_numpy(self.store.frames[self.clip.start + at.numpy()]).permute(0, 3, 1, 2).float() / 255
        return premultiplied(rgba)


@dataclass(frozen=True)
class ProgrammedLoop(Loop):
    """A still that turns, jumps, breathes or leans as one body, `rounds` times a loop."""

    still: Float[Tensor, "4 side side"]
    program: int
    strength: float
    """0 to 1."""
    rounds: int = 1
    size: int = 128
    seconds: float = PROGRAM_SECONDS

    def frames(self, times: Float[Tensor, " k"]) -> Layers:
        """The moved still, antialiased."""
        theta = pose(PROGRAMS[self.program], times * self.rounds, self.strength) / torch.tensor([ROOM, ROOM, 1])
        grid = F.affine_grid(theta, [len(times), 4, STILL_SIDE, STILL_SIDE], align_corners=False)
        moved = F.grid_sample(self.still.expand(len(times), -1, -1, -1), grid, align_corners=False)
        return F.interpolate(moved, (self.size, self.size), mode="area").clamp(0, 1)


def pose(program: str, times: Float[Tensor, " k"], strength: float) -> Theta:
    """How one body lies at shares of its round; at 0 it rests. `strength` 0 to 1: from hardly seen to lively."""
    wave = (2 * math.pi * times).sin()
    hump = (math.pi * times).sin() ** 2
    zero, one = torch.zeros_like(times), torch.ones_like(times)
    low = torch.full_like(times, 0.9)
    if program == "sway":
        return affine(wave * math.radians(2 + 12 * strength), one, one, zero, low)
    if program == "nod":
        return affine(wave * math.radians(3 + 15 * strength), one, one, zero, zero)
    if program == "bounce":
        flat = (2 * math.pi * times).cos().clamp(min=0) * wave.abs() * strength
        return affine(zero, 1 + 0.5 * flat, 1 - 0.5 * flat, -(0.08 + 0.3 * strength) * hump, low)
    if program == "pulse":
        size = 1 - (0.03 + 0.17 * strength) * hump
        return affine(zero, size, size, zero, zero)
    if program == "spin":
        return affine(2 * math.pi * times, one, one, zero, zero)
    if program == "squash":
        press = (0.03 + 0.12 * strength) * wave
        return affine(zero, 1 + press, 1 - press, zero, low)
    raise SfvError(f"program {program!r} is unknown; choose from {', '.join(PROGRAMS[1:])}")


def affine(angle: Tensor, wide: Tensor, high: Tensor, lift: Tensor, pivot: Tensor) -> Theta:
    """Turned, stretched by (wide, high) around (0, pivot), then shifted down by `lift`; as maps back to the still."""
    c, s = angle.cos(), angle.sin()
    back = torch.stack([c / wide, s / wide, -s / high, c / high], -1).view(-1, 2, 2)
    centre = torch.stack([torch.zeros_like(pivot), pivot], -1)
    shift = centre - (back @ (centre + torch.stack([torch.zeros_like(lift), lift], -1))[..., None])[..., 0]
    return torch.cat([back, shift[..., None]], -1)


def premultiplied(rgba: Layers) -> Layers:
    """Colours over white, as the store keeps them -> colours multiplied with alpha."""
    alpha = rgba[:, 3:]
    return torch.cat([(rgba[:, :3] - (1 - alpha)).clamp(min=0), alpha], 1)


def over(layers: Layers, background: Float[Tensor, "3 _ _"]) -> Layers:
    """Opaque: composited over a background in [0, 1]."""
    colours = layers[:, :3] + (1 - layers[:, 3:]) * background
    return torch.cat([colours.clamp(0, 1), torch.ones_like(layers[:, 3:])], 1)


def placement(rng: torch.Generator) -> Float[Tensor, "1 2 3"]:
    """Flip, scale (0.75 to 1.1), turn (up to 8 degrees) and shift, at random."""
    flip, scale, angle, dx, dy = torch.rand(5, generator=rng).tolist()
    scale, angle, sign = 0.75 + 0.35 * scale, (angle - 0.5) * 0.28, -1.0 if flip < 0.5 else 1.0
    c, s = math.cos(angle) / scale, math.sin(angle) / scale
    return torch.tensor([[[sign * c, -sign * s, (dx - 0.5) * 0.2], [s, c, (dy - 0.5) * 0.2]]])


def placed(layers: Layers, theta: Float[Tensor, "1 2 3"]) -> Layers:
    """A whole clip, moved as `placement` says."""
    grid = F.affine_grid(theta, [1, 4, *layers.shape[2:]], align_corners=False)
    return F.grid_sample(layers, grid.expand(len(layers), -1, -1, -1), align_corners=False).clamp(0, 1)


class LoopSource:
    """Training loops: animations by family, and programmed motions of stills if there are any."""

    def __init__(self, store: ClipStore, programmed: float = 0.0, split: str = "train") -> None:
        """`programmed` is the share of stills; SfvError if they are wanted and the store has none."""
        self.store, self.programmed = store, programmed
        self.families = by_family(store.split(split))
        self.stills = open_stills(store.folder) if programmed else None

    def draw(self, rng: torch.Generator) -> Loop:
        """One at random."""
        if self.stills is None or float(torch.rand((), generator=rng)) >= self.programmed:
            return DrawnLoop(self.store, draw(self.families, rng))
        which = int(torch.randint(len(self.stills), (), generator=rng))
        program = 1 + int(torch.randint(len(PROGRAMS) - 1, (), generator=rng))
        strength, u = torch.rand(2, generator=rng).tolist()
        rounds = 1 if PROGRAMS[program] == "spin" else 1 + int(3 * u)
        still = torch.from_numpy(self.stills[which].copy()).permute(2, 0, 1).float() / 255
        return ProgrammedLoop(premultiplied(still[None])[0], program, strength, rounds, self.store.size)


@dataclass(frozen=True)
class Look:
    """How a loop is shown: where it lies, over what, its colours' order; None leaves it as it is."""

    theta: Float[Tensor, "1 2 3"] | None = None
    background: Float[Tensor, "3 _ _"] | None = None
    colours: tuple[int, ...] | None = None

    def __call__(self, layers: Layers) -> Layers:
        """Frames shown so."""
        if self.theta is not None:
            layers = placed(layers, self.theta)
        if self.colours is not None:
            layers = layers[:, [*self.colours, 3]]
        return layers if self.background is None else over(layers, self.background)


def random_look(size: int, rng: torch.Generator, clear: float = 0.45, plain: float = 0.6) -> Look:
    """Mostly placed anew; transparent with probability `clear`, else over white (`plain`), a colour or a gradient."""
    u = torch.rand(3, generator=rng).tolist()
    theta = placement(rng) if u[0] < 0.85 else None
    background = None if u[1] < clear else random_background(size, rng, plain)
    colours = tuple(torch.randperm(3, generator=rng).tolist()) if u[2] < 0.2 else None
    return Look(theta, background, colours)


def white(size: int) -> Float[Tensor, "3 _ _"]:
    """The background of every published figure."""
    return torch.ones(3, size, size)


def pack_set(source: Path, out: Path, per_family: int = 6) -> tuple[ClipStore, int]:
    """A store of a sticker set's clips and, if it has stills.zip, of its stills; returns how many stills it holds.

    SfvError for another source, and where `out` holds such files that sfv did not write.
    """
    not_in_the_way(out / STORE, STORED, [out / name for name in (FRAMES, STILLS, STILL_NAMES)])
    store = pack(source, out, per_family)
    if (source / "stills.zip").exists() and not (out / STILLS).exists():
        pack_stills(source / "stills.zip", out)
    return store, len(open_stills(out)) if (out / STILLS).exists() else 0


def pack_stills(archive: Path, out: Path) -> int:
    """Every other still of an archive, in the order of their names, as one array in a store; returns how many.

    The 2nd, 4th, ... stay unseen: sheets and figures on stills show those.
    """
    try:
        with zipfile.ZipFile(archive) as source:
            names = sorted(n for n in source.namelist() if not n.endswith("/"))[::2]
            rows = [read_sticker(io.BytesIO(source.read(n))).numpy() for n in names]
    except (OSError, zipfile.BadZipFile) as error:
        raise SfvError(f"{archive} is not an archive of stills ({error})") from error
    if odd := next((n for n, r in zip(names, rows, strict=True) if r.shape[:2] != (STILL_SIDE, STILL_SIDE)), None):
        raise SfvError(f"{archive}: {odd} is not {STILL_SIDE} x {STILL_SIDE}")
    whole = np.stack(rows)
    alpha = whole[..., 3:].astype(np.float32) / 255
    whole[..., :3] = (whole[..., :3] * alpha + 255 * (1 - alpha)).round()  # over white, as the store's frames
    with replacing(out / STILL_NAMES) as path:
        path.write_text(json.dumps([Path(n).stem for n in names]))
    with replacing(out / STILLS) as path, open(path, "wb") as sink:
        sink.write(whole.data)
    return len(rows)


def open_stills(folder: Path) -> np.ndarray:
    """(n, 256, 256, 4) uint8, colours over white."""
    path = folder / STILLS
    if not path.exists():
        raise SfvError(f"{folder} holds no stills to move; pack a sticker set that has stills.zip")
    return np.memmap(path, np.uint8, "r").reshape(-1, STILL_SIDE, STILL_SIDE, 4)


def still_names(folder: Path) -> list[str]:
    """What a store's stills are called; none in a store that does not say."""
    path = folder / STILL_NAMES
    return [str(n) for n in json.loads(path.read_text())] if path.exists() else []
