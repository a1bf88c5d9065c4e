"""GroupNorm, with SiLU after it if asked, over channels-last maps, its statistics taken by the whole GPU.

torch's own kernel gives one block of threads to each (sample, group): 32 blocks for a clip's norm over time, whose
maps may hold a billion numbers. Here many programs take mean and squared deviations of a stretch of rows each, a
second kernel joins them, a third normalises: two reads and one write of the map, nothing else of its size.

Statistics are in float32 by Welford's rule in Chan's form (deviations from each part's own mean, parts joined
pairwise), so a mean far from zero costs nothing. Against float64 the relative L2 error is at most 1e-6 in float32
and that of one rounding of the result in half precision (4e-3 in bfloat16, 5e-4 in float16).
"""

from typing import no_type_check

import torch
import torch.nn.functional as F
import triton
import triton.language as tl
from torch import Tensor

PROGRAMS = 2048
"""That share the rows of all samples: about 16 for each multiprocessor of an H100."""
TILE = 4096
"""Numbers that a program holds at once."""
JOINED = 1
"""Groups of a sample whose parts a program joins; a power of two."""
TIMES = 4
"""Tiles that a program normalises, one after another."""


def reference(x: Tensor, groups: int, weight: Tensor, bias: Tensor, eps: float, silu: bool) -> Tensor:
    """The same by plain torch, (n, c, h, w) -> (n, c, h, w)."""
    out = F.group_norm(x, groups, weight, bias, eps)
    return F.silu(out) if silu else out


def takes(x: Tensor, groups: int) -> bool:
    """Whether x (n, c, h, w) is dense with its channels last, as the kernel reads it."""
    return x.dim() == 4 and x.shape[1] % groups == 0 and x.permute(0, 2, 3, 1).is_contiguous()


@torch.library.custom_op("sfv::group_norm_silu", mutates_args=())
def group_norm_silu(x: Tensor, groups: int, weight: Tensor, bias: Tensor, eps: float, silu: bool) -> Tensor:
    """(n, c, h, w), channels last -> the same; weight and bias (c,)."""
    n, c, h, w = x.shape
    out, wide, tall = torch.empty_like(x), *_tile(c)
    blocks = triton.cdiv(h * w, tall * TIMES)
    sizes = h * w, c, blocks, n * groups, groups
    shape = {"SIZE": c // groups, "TALL": tall, "WIDE": wide, "TIMES": TIMES}
    with torch.cuda.device_of(x):
        stats = _statistics(x, groups, eps)
        _apply[n * blocks, triton.cdiv(c, wide)](x, out, stats, weight, bias, *sizes, **shape, SILU=silu)
    return out


def _tile(c: int) -> tuple[int, int]:
    """Channels and rows that a program holds at once."""
    wide = min(triton.next_power_of_2(c), 128)
    return wide, TILE // wide


def _statistics(x: Tensor, groups: int, eps: float) -> Tensor:
    """Mean and 1 / sqrt(variance + eps), (2, n, groups), float32."""
    n, c, h, w = x.shape
    rows, (wide, tall) = h * w, _tile(c)
    wanted = min(triton.cdiv(rows, tall), max(1, PROGRAMS // n))
    each = triton.cdiv(triton.cdiv(rows, wanted), tall) * tall
    parts = triton.cdiv(rows, each)
    mean, square = x.new_empty((2, n, parts, c), dtype=torch.float32)
    stats = x.new_empty((2, n, groups), dtype=torch.float32)
    _parts[n * parts, triton.cdiv(c, wide)](x, mean, square, rows, c, parts, each, TALL=tall, WIDE=wide)
    inside = triton.next_power_of_2(c // groups)
    shape = {"SIZE": c // groups, "WIDE": inside, "TALL": max(1, 2048 // inside), "MANY": JOINED}
    _join[n, triton.cdiv(groups, JOINED)](mean, square, stats, rows, c, parts, each, eps, groups, **shape)
    return stats


@group_norm_silu.register_fake
def _(x: Tensor, groups: int, weight: Tensor, bias: Tensor, eps: float, silu: bool) -> Tensor:
    return torch.empty_like(x)


@triton.jit
@no_type_check
def _parts(x, mean, square, rows, c, parts, each, TALL: tl.constexpr, WIDE: tl.constexpr):
    """Mean and squared deviations of every channel over one stretch of rows, (n, parts, c)."""
    sample, part = tl.program_id(0) // parts, tl.program_id(0) % parts
    column = tl.program_id(1) * WIDE + tl.arange(0, WIDE)
    first = part * each
    last = tl.minimum(first + each, rows)
    own = x + sample.to(tl.int64) * rows * c
    m, s = tl.zeros([WIDE], tl.float32), tl.zeros([WIDE], tl.float32)
    count = 0.0
    for start in range(first, last, TALL):
        row = start + tl.arange(0, TALL)
        known = (row < last)[:, None] & (column < c)[None, :]
        v = tl.load(own + row.to(tl.int64)[:, None] * c + column[None, :], mask=known, other=0.0).to(tl.float32)
        more = tl.minimum(last - start, TALL).to(tl.float32)
        here = tl.sum(v, 0) / more
        away = tl.where(known, v - here[None, :], 0.0)
        gap = here - m
        total = count + more
        m += gap * (more / total)
        s += tl.sum(away * away, 0) + gap * gap * (count * more / total)
        count = total
    at = (sample * parts + part).to(tl.int64) * c + column
    tl.store(mean + at, m, mask=column < c)
    tl.store(square + at, s, mask=column < c)


@triton.jit
@no_type_check
def _join(
    mean,
    square,
    stats,
    rows,
    c,
    parts,
    each,
    eps,
    groups,
    SIZE: tl.constexpr,
    WIDE: tl.constexpr,
    TALL: tl.constexpr,
    MANY: tl.constexpr,
):
    """Mean and 1 / sqrt(variance + eps) of some groups of a sample, (2, n, groups), in two passes over the parts."""
    sample, group = tl.program_id(0), tl.program_id(1) * MANY + tl.arange(0, MANY)
    inner = tl.arange(0, WIDE)
    own = (inner < SIZE)[None, None, :] & (group < groups)[None, :, None]
    at = sample.to(tl.int64) * parts * c + (group * SIZE)[None, :, None] + inner[None, None, :]
    total = tl.zeros([MANY], tl.float32)
    for start in range(0, parts, TALL):
        part = (start + tl.arange(0, TALL))[:, None, None]
        known = own & (part < parts)
        count = tl.minimum(rows - part * each, each).to(tl.float32)
        m = tl.load(mean + at + part * c, mask=known, other=0.0)
        total += tl.sum(tl.sum(tl.where(known, m * count, 0.0), 2), 0)
    middle = total / rows / SIZE
    spread = tl.zeros([MANY], tl.float32)
    for start in range(0, parts, TALL):
        part = (start + tl.arange(0, TALL))[:, None, None]
        known = own & (part < parts)
        count = tl.minimum(rows - part * each, each).to(tl.float32)
        gap = tl.load(mean + at + part * c, mask=known, other=0.0) - middle[None, :, None]
        inside = tl.load(square + at + part * c, mask=known, other=0.0)
        spread += tl.sum(tl.sum(tl.where(known, inside + gap * gap * count, 0.0), 2), 0)
    to = stats + sample * groups + group
    tl.store(to, middle, mask=group < groups)
    tl.store(to + tl.num_programs(0) * groups, 1.0 / tl.sqrt(spread / rows / SIZE + eps), mask=group < groups)


@triton.jit
@no_type_check
def _apply(
    x,
    out,
    stats,
    weight,
    bias,
    rows,
    c,
    blocks,
    pairs,
    groups,
    SIZE: tl.constexpr,
    TALL: tl.constexpr,
    WIDE: tl.constexpr,
    TIMES: tl.constexpr,
    SILU: tl.constexpr,
):
    """(x - mean) * rstd * weight + bias, then SiLU, over a stretch of rows."""
    sample, block = tl.program_id(0) // blocks, tl.program_id(0) % blocks
    column = tl.program_id(1) * WIDE + tl.arange(0, WIDE)
    inside = column < c
    pair = sample * groups + column // SIZE
    m = tl.load(stats + pair, mask=inside, other=0.0)
    rstd = tl.load(stats + pairs + pair, mask=inside, other=0.0)
    scale = rstd * tl.load(weight + column, mask=inside, other=0.0).to(tl.float32)
    shift = tl.load(bias + column, mask=inside, other=0.0).to(tl.float32)
    base = sample.to(tl.int64) * rows * c
    for i in tl.static_range(TIMES):
        row = (block * TIMES + i) * TALL + tl.arange(0, TALL)
        known = (row < rows)[:, None] & inside[None, :]
        at = base + row.to(tl.int64)[:, None] * c + column[None, :]
        v = tl.load(x + at, mask=known, other=0.0).to(tl.float32)
        v = tl.where(known, (v - m[None, :]) * scale[None, :] + shift[None, :], 0.0)
        if SILU:
            v = v * tl.sigmoid(v)
        tl.store(out + at, v.to(out.dtype.element_ty), mask=known)
