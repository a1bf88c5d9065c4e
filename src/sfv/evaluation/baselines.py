"""The picture moved as one body: what a model must beat that is to know what is in the picture."""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from sfv.evaluation.protocol import Protocol
from sfv.media.pictures import Uint8Picture
from sfv.types import Frames


def sway(picture: Uint8Picture, protocol: Protocol, way: int = 1) -> Frames:
    """Turned about its bottom centre by way * sway_degrees * sin(2 pi t / sway_seconds); way is 1 or -1."""
    p = protocol.baselines
    angle = way * math.radians(p.sway_degrees) * wave(protocol, p.sway_seconds)
    rows = [torch.stack([angle.cos(), angle.sin()], -1), torch.stack([-angle.sin(), angle.cos()], -1)]
    return through(picture, torch.stack(rows, 1))


def squash(picture: Uint8Picture, protocol: Protocol, way: int = 1) -> Frames:
    """1 + s times as wide and 1 - s times as high about its bottom centre; s = way * squash_share * sin(...), as in
    sway."""
    p = protocol.baselines
    share = way * p.squash_share * wave(protocol, p.squash_seconds)
    return through(picture, torch.diag_embed(torch.stack([1 / (1 + share), 1 / (1 - share)], -1)))


MOVED: dict[str, Callable[[Uint8Picture, Protocol, int], Frames]] = {"sway": sway, "squash": squash}
"""By the names of their rows."""


def wave(protocol: Protocol, seconds: float) -> Float[Tensor, " f"]:
    """sin(2 pi t / seconds) at every frame's time t, float64; of whole rounds, with `rounds` periods in the clip."""
    at = torch.arange(protocol.frames, dtype=torch.float64)
    if protocol.whole:
        return (2 * math.pi * rounds(protocol, seconds) * at / protocol.frames).sin()
    return (2 * math.pi * at / protocol.fps / seconds).sin()


def rounds(protocol: Protocol, seconds: float) -> int:
    """Periods in a whole round, at least one: as many as make one last nearest to `seconds`."""
    return max(1, round(protocol.frames / protocol.fps / seconds))


def through(picture: Uint8Picture, maps: Float[Tensor, "f 2 2"]) -> Frames:
    """The picture seen through linear maps about its bottom centre, (x, y) in a frame -> (x, y) in the picture.

    Bicubic; what comes from outside is the nearest edge. The unit map gives the very picture.
    """
    height, width = picture.shape[:2]
    y, x = torch.arange(height) + 0.5 - height, torch.arange(width) + 0.5 - width / 2
    places = torch.stack(torch.meshgrid(x, y, indexing="xy"), -1).double()
    at = torch.einsum("fij,hwj->fhwi", maps, places)
    unit = at * 2 / torch.tensor([width, height]) + torch.tensor([0, 1])
    pixels = picture.permute(2, 0, 1).double().expand(len(maps), -1, -1, -1)
    moved = F.grid_sample(pixels, unit, mode="bicubic", padding_mode="border", align_corners=False)
    return moved.round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous()
