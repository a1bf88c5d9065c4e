"""Loops encoded once and kept on disk: encoding a loop costs as much as a training step on it.

A pool holds the first `count` draws of a source, each made when it is first asked for; several processes share one.
"""

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from sfv.errors import SfvError
from sfv.media import replacing


@dataclass(frozen=True)
class EncodedLoop:
    """One loop as a denoiser's training sees it."""

    x0: Float[Tensor, "f c y x"]
    picture: Float[Tensor, "4 h w"]
    """In [-1, 1], colours multiplied with alpha."""
    seconds: float
    """Of one round."""
    program: int
    """Index into PROGRAMS (data/loops.py)."""


class LoopPool:
    """`latents.f16`, `pictures.u8` and `facts.f32` (made, seconds, program) in a folder, with what made them."""

    def __init__(self, folder: Path, count: int, shape: tuple[int, ...], size: int, made_by: dict[str, Any]) -> None:
        """`shape` (f, c, y, x) of one loop's latents, `size` of its picture. SfvError if others made the folder."""
        self.count = count
        folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps(made_by | {"count": count, "shape": shape, "size": size}, sort_keys=True)
        note = folder / "pool.json"
        if note.exists() and note.read_text() != text:
            raise SfvError(f"{folder} was made by another codec or from other loops; delete it")
        with replacing(note) as beside:
            beside.write_text(text)
        self.latents = array_on_disk(folder / "latents.f16", np.float16, (count, *shape))
        self.pictures = array_on_disk(folder / "pictures.u8", np.uint8, (count, 4, size, size))
        self.facts = array_on_disk(folder / "facts.f32", np.float32, (count, 3))

    def get(self, i: int, make: Callable[[int], EncodedLoop]) -> EncodedLoop:
        """Loop i; `make(i)` if it is not there yet. What is read is always what was stored, rounding included."""
        if not self.facts[i, 0]:
            loop = make(i)
            self.latents[i] = loop.x0.half().cpu().numpy()
            self.pictures[i] = ((loop.picture + 1) * 127.5).round().clamp(0, 255).byte().cpu().numpy()
            self.facts[i] = 1, loop.seconds, loop.program  # last: whoever sees it sees the rest
        picture = torch.from_numpy(self.pictures[i].copy()).float() / 127.5 - 1
        x0 = torch.from_numpy(self.latents[i].copy()).float()
        return EncodedLoop(x0, picture, float(self.facts[i, 1]), int(self.facts[i, 2]))


def array_on_disk(path: Path, dtype: Any, shape: tuple[int, ...]) -> np.ndarray:
    """A file of zeros of this size, or what it holds; several processes may open it at once."""
    wanted = int(np.prod(shape)) * np.dtype(dtype).itemsize
    with open(path, "ab") as file:
        if file.tell() != wanted:
            os.truncate(file.fileno(), wanted)
    return np.memmap(path, dtype, "r+", shape=shape)
