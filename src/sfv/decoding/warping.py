"""Moving maps by a flow: bilinear samples, from coarse to fine. Knows no network."""

from functools import lru_cache

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

Maps = Float[Tensor, "_ _ _ _"]
Flow = Float[Tensor, "_ 2 _ _"]
"""From where each position is taken: (x, y) offsets in positions of its own level."""
ENLARGED = 3
"""Times a picture is enlarged by cubic interpolation before it is moved: samples between its own pixels would blur
it. Odd, so that what does not move is copied as it is."""


def finer(flow: Flow) -> Flow:
    """The same flow at twice the size."""
    return 2 * F.interpolate(flow, scale_factor=2, mode="bilinear", align_corners=False)


def warped(maps: Maps, flow: Flow) -> Maps:
    """Bilinear samples of `maps` at each position plus its flow; beyond the border the border goes on.

    maps (b, c, Y, X), flow (b * f, 2, y, x) -> (b * f, c, y, x) float32: all frames of a clip are sampled from its one
    map, which is not copied. Maps may be finer than the flow, whose positions then are cells of them.
    """
    n, _, y, x = flow.shape
    b = len(maps)
    rows, columns = ((2 * torch.arange(s, device=flow.device, dtype=torch.float32) + 1) / s - 1 for s in (y, x))
    across, down = flow.float().unbind(1)  # shares of the whole map, in [-1, 1]: one pass over each
    at = [torch.add(columns, across, alpha=2 / x), torch.add(rows[:, None], down, alpha=2 / y)]
    grid = torch.stack(at, -1).reshape(b, n // b * y, x, 2)
    tall = F.grid_sample(maps.float(), grid, padding_mode="border", align_corners=False)
    return tall.unflatten(2, (n // b, y)).transpose(1, 2).flatten(0, 1)


def moved(pictures: Maps, flow: Flow) -> Maps:
    """Pictures (b, c, y, x), or what belongs to them, as each of their frames (b * f) has them."""
    return warped(sharpened(pictures), flow)


def sharpened(pictures: Maps) -> Maps:
    """ENLARGED times as large, to be sampled between its pixels."""
    if torch.compiler.is_exporting():  # runtimes are slow at cubic steps; it is a linear map of each axis
        rows, columns = (_cubic(size) for size in pictures.shape[2:])
        return rows @ pictures.float() @ columns.T
    return F.interpolate(pictures.float(), scale_factor=ENLARGED, mode="bicubic", align_corners=False)


@lru_cache(maxsize=8)
def _cubic(size: int) -> Tensor:
    """(ENLARGED * size, size): what it does to each place of an axis."""
    unit = torch.eye(size)[None, None]
    return F.interpolate(unit, size=(ENLARGED * size, size), mode="bicubic", align_corners=False)[0, 0]
