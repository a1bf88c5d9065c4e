"""Moving maps by a flow: bilinear samples, from coarse to fine. Knows no network."""

import math
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

Maps = Float[Tensor, "_ _ _ _"]
Flow = Float[Tensor, "_ 2 _ _"]
"""From where each position is taken: (x, y) offsets in positions of its own level."""
WIDE = 16
"""Channels from which whole positions are summed up rather than channels sampled one by one."""
ENLARGED = 3
"""Times a picture is enlarged by cubic interpolation before it is moved: samples between its own pixels would blur
it. Odd, so that what does not move is copied as it is."""
CUBIC = ((-1 / 18, 10 / 27, 43 / 54, -1 / 9, 0.0), (0.0, 0.0, 1.0, 0.0, 0.0), (0.0, -1 / 9, 43 / 54, 10 / 27, -1 / 18))
"""Shares of five pixels in a row in the three new ones of the middle one."""


def finer(flow: Flow) -> Flow:
    """The same flow at twice the size."""
    return 2 * F.interpolate(flow, scale_factor=2, mode="bilinear", align_corners=False)


def warped(maps: Maps, flow: Flow, beyond: Literal["border", "zeros"] = "border") -> Maps:
    """Bilinear samples of `maps` at each position plus its flow; beyond the border the border goes on, or all is zero.

    maps (b, c, Y, X), flow (b * f, 2, y, x) -> (b * f, c, y, x) float32: all frames of a clip are sampled from its one
    map, which is not copied. Maps may be finer than the flow, whose positions then are cells of them.
    """
    n, _, y, x = flow.shape
    b = len(maps)
    traced = torch.compiler.is_compiling() or torch.jit.is_tracing()  # type: ignore[attr-defined]
    if (
        beyond == "border"
        and maps.shape[1] >= WIDE
        and maps.device.type == "cpu"
        and not (torch.is_grad_enabled() or traced)
    ):
        return _summed(maps, flow)
    rows, columns = ((2 * torch.arange(s, device=flow.device, dtype=torch.float32) + 1) / s - 1 for s in (y, x))
    across, down = flow.float().unbind(1)  # shares of the whole map, in [-1, 1]: one pass over each
    at = [torch.add(columns, across, alpha=2 / x), torch.add(rows[:, None], down, alpha=2 / y)]
    parts = math.gcd(n, torch.get_num_threads()) if b == 1 and not traced else 1  # a map is one thread's work
    grid = torch.stack(at, -1).reshape(b * parts, n // (b * parts) * y, x, 2)
    each = maps.float().expand(b * parts, -1, -1, -1)
    tall = F.grid_sample(each, grid, padding_mode=beyond, align_corners=False)
    return tall.unflatten(2, (-1, y)).transpose(1, 2).flatten(0, 1)


def _summed(maps: Maps, flow: Flow) -> Maps:
    """The same samples as sums of a table's rows, a row for each position of the maps: a quarter of the time of
    `grid_sample` for 64 channels, and channels-last."""
    (b, c, high, wide), (n, _, y, x) = maps.shape, flow.shape
    table = maps.float().permute(0, 2, 3, 1).reshape(b * high * wide, c).contiguous()  # else 80 times as slow
    columns, rows = (torch.arange(s, dtype=torch.float32) + 0.5 for s in (x, y))
    across, down = flow.float().unbind(1)
    i = ((columns + across) * (wide / x) - 0.5).clamp_(0, wide - 1)
    j = ((rows[:, None] + down) * (high / y) - 0.5).clamp_(0, high - 1)
    left, top = i.int(), j.int()
    i, j = i - left, j - top
    clip = torch.arange(b, dtype=torch.int32).repeat_interleave(n // b)[:, None, None] * (high * wide)
    above, below = clip + top * wide, clip + (top + 1).clamp_(max=high - 1) * wide
    right = (left + 1).clamp_(max=wide - 1)
    corners = torch.stack([above + left, above + right, below + left, below + right], -1)
    shares = torch.stack([(1 - i) * (1 - j), i * (1 - j), (1 - i) * j, i * j], -1)
    sums = F.embedding_bag(corners.view(-1, 4), table, mode="sum", per_sample_weights=shares.view(-1, 4))
    return sums.view(n, y, x, c).permute(0, 3, 1, 2)


def moved(pictures: Maps, flow: Flow) -> Maps:
    """Pictures (b, c, y, x), or what belongs to them, as each of their frames (b * f) has them."""
    return warped(sharpened(pictures), flow)


def sharpened(pictures: Maps) -> Maps:
    """ENLARGED times as large by cubic interpolation (Keys 1981, a = -0.75), to be sampled between its pixels.

    On a CPU a convolution, from each pixel to its ENLARGED x ENLARGED new ones: a third of `interpolate`'s time, and
    runtimes of exported files are quick at it.
    """
    if pictures.is_cuda:  # where TF32 would round a convolution
        return F.interpolate(pictures.float(), scale_factor=ENLARGED, mode="bicubic", align_corners=False)
    b, c, y, x = pictures.shape
    around = F.pad(pictures.float().reshape(b * c, 1, y, x), (2,) * 4, mode="replicate")
    along = torch.tensor(CUBIC, device=pictures.device)
    weight = (along[:, None, :, None] * along[None, :, None, :]).reshape(ENLARGED**2, 1, 5, 5)
    with torch.autocast(pictures.device.type, enabled=False):
        new = F.conv2d(around, weight)
    return F.pixel_shuffle(new, ENLARGED).reshape(b, c, ENLARGED * y, ENLARGED * x)
