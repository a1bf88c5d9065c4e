"""Animated stickers with alpha: packed clips -> one memory-mapped array -> training clips.

Source layout: `clips.zip` with one mp4 per clip, left half RGB on white,
right half alpha; `index.json` with id, name, family, split, fps and frames. The store keeps RGBA frames
uncompressed, so that training reads any frame in microseconds. Knows files and tensors, no model.
"""

import json
import zipfile
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from sfv.errors import SfvError
from sfv.media import read_video_bytes, replacing
from sfv.system.files import make_folder, not_in_the_way

SOURCE_FPS = 24
STORE, FRAMES = "store.json", "frames.u8"
STORED = {"size", "fps", "clips"}
"""What store.json holds."""


@dataclass(frozen=True)
class Clip:
    """One animation in the store: `count` RGBA frames from `start` on."""

    id: str
    name: str
    group: str
    family: str
    split: str
    start: int
    count: int


class ClipStore:
    """A folder with `frames.u8` (RGBA, n x size x size x 4) and `store.json`."""

    def __init__(self, folder: Path) -> None:
        try:
            meta = json.loads((folder / STORE).read_text())
            self.folder, self.size, self.fps = folder, int(meta["size"]), int(meta["fps"])
            self.clips = [Clip(**c) for c in meta["clips"]]
            total = sum(c.count for c in self.clips)
            self.frames = np.memmap(folder / FRAMES, np.uint8, "r", shape=(total, self.size, self.size, 4))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise SfvError(f"{folder} is not a clip store ({error}); make one with `sfv pack`") from error

    def split(self, name: str) -> list[Clip]:
        """Clips of one split ("train" or "val"), in index order."""
        return [c for c in self.clips if c.split == name]

    def rgba(self, clip: Clip, first: int, count: int, stride: int) -> Tensor:
        """Frames first, first + stride, ... as float RGBA in [0, 1], shape (count, 4, size, size).

        The animations loop, so positions wrap around.
        """
        at = clip.start + (first + stride * np.arange(count)) % clip.count
        return torch.from_numpy(self.frames[at]).permute(0, 3, 1, 2).float() / 255


def by_family(clips: list[Clip]) -> list[list[Clip]]:
    """Group clips by family, so that a family with many skin tones counts once in a draw."""
    families: dict[str, list[Clip]] = defaultdict(list)
    for clip in clips:
        families[clip.family].append(clip)
    return [families[k] for k in sorted(families)]


def draw(families: list[list[Clip]], rng: torch.Generator) -> Clip:
    """One clip: a family evenly, then a member evenly."""
    family = families[int(torch.randint(len(families), (), generator=rng))]
    return family[int(torch.randint(len(family), (), generator=rng))]


def over_background(rgba: Tensor, background: Tensor) -> Tensor:
    """Composite (f, 4, h, w) over a (3, h, w) background; returns pixels in [-1, 1], (f, 3, h, w).

    The store's colour is already over white, so it is un-mixed first: rgb = white*(1-a) + a*colour.
    """
    rgb, alpha = rgba[:, :3], rgba[:, 3:]
    return ((rgb - (1 - alpha)) + (1 - alpha) * background).clamp(0, 1) * 2 - 1


def random_background(size: int, rng: torch.Generator, plain: float = 0.6) -> Tensor:
    """White with probability `plain`, else one colour or a gradient between two; (3, size, size) in [0, 1]."""
    u = float(torch.rand((), generator=rng))
    if u < plain:
        return torch.ones(3, size, size)
    a, b = torch.rand(2, 3, 1, 1, generator=rng)
    if u < (1 + plain) / 2:
        return a.expand(3, size, size)
    angle = float(torch.rand((), generator=rng)) * 6.2832
    line = torch.linspace(-0.5, 0.5, size)
    ramp = np.cos(angle) * line[None, :] + np.sin(angle) * line[:, None] + 0.5
    return a + (b - a) * ramp.clamp(0, 1)


def random_placement(rgba: Tensor, rng: torch.Generator) -> Tensor:
    """Flip, scale (0.8-1.1), turn (up to 8 degrees) and shift a whole clip; (f, 4, h, w) in and out."""
    flip, scale, angle, dx, dy = torch.rand(5, generator=rng).tolist()
    scale, angle = 0.8 + 0.3 * scale, (angle - 0.5) * 0.28
    sx = -1.0 if flip < 0.5 else 1.0
    c, s = np.cos(angle) / scale, np.sin(angle) / scale
    theta = torch.tensor([[sx * c, -sx * s, (dx - 0.5) * 0.2], [s, c, (dy - 0.5) * 0.2]], dtype=rgba.dtype)
    grid = F.affine_grid(theta[None], [1, 4, *rgba.shape[2:]], align_corners=False)
    white = torch.tensor([1.0, 1, 1, 0])[:, None, None]
    moved = F.grid_sample(rgba - white, grid.expand(len(rgba), -1, -1, -1), align_corners=False)
    return (moved + white).clamp(0, 1)


def pack(source: Path, out: Path, per_family: int = 6, size: int = 128) -> ClipStore:
    """Decode `source/clips.zip` into a store at `out`: every validation clip, and up to `per_family`
    clips of each training family (evenly spaced over its variants). Finished stores are kept.

    SfvError for another source, and where `out` holds such files that sfv did not write.
    """
    not_in_the_way(out / STORE, STORED, [out / FRAMES])
    if (out / STORE).exists():
        return ClipStore(out)
    try:
        index: list[dict[str, Any]] = json.loads((source / "index.json").read_text())
        archive = zipfile.ZipFile(source / "clips.zip")
    except (OSError, json.JSONDecodeError, zipfile.BadZipFile) as error:
        raise SfvError(f"{source} does not hold index.json and clips.zip of a sticker set: {error}") from error
    make_folder(out)
    clips, start = [], 0
    with replacing(out / STORE) as written, replacing(out / FRAMES) as path:  # both are renamed at the end
        with open(path, "wb") as sink, archive:
            for row in tqdm(chosen(index, per_family), desc="pack", unit="clip", smoothing=0):
                rgba = _rgba(read_video_bytes(archive.read(f"{row['id']}.mp4")), size)
                sink.write(np.ascontiguousarray(rgba).data)
                clips.append(_clip(row, start, len(rgba)))
                start += len(rgba)
        written.write_text(json.dumps({"size": size, "fps": SOURCE_FPS, "clips": [c.__dict__ for c in clips]}))
    return ClipStore(out)


def _clip(row: dict[str, Any], start: int, count: int) -> Clip:
    name, group = row["name"] or "", row["group"] or ""
    return Clip(row["id"], name, group, row["family"], row["split"], start, count)


def _rgba(video: Tensor, size: int) -> np.ndarray:
    """(f, size, 2*size, 3) with alpha at the right -> (f, size, size, 4)."""
    if video.shape[1:3] != (size, 2 * size):
        raise SfvError(f"a packed clip is {tuple(video.shape[1:3])}, expected {(size, 2 * size)}")
    alpha = video[:, :, size:].float().mean(-1, keepdim=True).round().to(torch.uint8)
    return torch.cat([video[:, :, :size], alpha], -1).numpy()


def chosen(index: list[dict[str, Any]], per_family: int) -> list[dict[str, Any]]:
    """Rows of an index that are packed: every validation clip, and so many of each training family."""
    groups: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in index:
        groups[row["family"]].append(row)
    rows = []
    for members in groups.values():
        keep = len(members) if members[0]["split"] == "val" else min(per_family, len(members))
        rows += [members[i * len(members) // keep] for i in range(keep)]
    return rows
