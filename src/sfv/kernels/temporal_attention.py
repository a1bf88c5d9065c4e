"""Attention over the frames of every position, on tokens as the spatial layers leave them: no transposes.

Queries, keys and values lie as (b * t, s, c), frame by frame; a position's t tokens are t rows of c apart, and a head's
part of a row fills a cache line. One program takes one head of one position and keeps all its frames in registers:
each number is read once and written once, so this is bound by bandwidth. Softmax is in float32. Against float64 the
relative L2 error is at most 2e-6 in float32 and 8e-3 in bfloat16 (1e-3 in float16), as with flash attention, whose
weights are rounded to the values' precision too.
"""

from typing import no_type_check

import torch
import torch.nn.functional as F
import triton
import triton.language as tl
from torch import Tensor

from sfv.kernels import interpreted

MOST = 32
"""Frames of a clip that fit (SVD has 14, SVD-XT 25)."""


def reference(q: Tensor, k: Tensor, v: Tensor, frames: int, heads: int) -> Tensor:
    """The same by plain torch, (b * t, s, c) -> (b * t, s, c)."""
    parts = (p.unflatten(0, (-1, frames)).unflatten(3, (heads, -1)).permute(0, 2, 3, 1, 4) for p in (q, k, v))
    mixed = F.scaled_dot_product_attention(*parts)  # (b, s, heads, t, d)
    return mixed.permute(0, 3, 1, 2, 4).reshape(q.shape)


def takes(q: Tensor, frames: int, heads: int) -> bool:
    """Whether there are not too many frames, and a head is a power of two from 16 on."""
    d = q.shape[-1] // heads
    return frames <= MOST and d >= 16 and d & (d - 1) == 0


@torch.library.custom_op("sfv::temporal_attention", mutates_args=())
def temporal_attention(q: Tensor, k: Tensor, v: Tensor, frames: int, heads: int) -> Tensor:
    """(b * t, s, c) three times, c without gaps -> (b * t, s, c), dense."""
    n, s, c = q.shape
    out = torch.empty((n, s, c), dtype=q.dtype, device=q.device)
    d, strides = c // heads, [x for t in (q, k, v) for x in t.stride()[:2]]
    shape = {"D": d, "T": max(16, triton.next_power_of_2(frames)), "WIDEN": interpreted(), "num_warps": 1}
    with torch.cuda.device_of(q):
        _attend[s, heads, n // frames](q, k, v, out, *strides, s * c, c, d**-0.5, frames, **shape)
    return out


@temporal_attention.register_fake
def _(q: Tensor, k: Tensor, v: Tensor, frames: int, heads: int) -> Tensor:
    return q.new_empty(q.shape)


@triton.jit
@no_type_check
def _attend(
    q, k, v, out, q0, q1, k0, k1, v0, v1, o0, o1, scale, frames, D: tl.constexpr, T: tl.constexpr, WIDEN: tl.constexpr
):
    """softmax(q k^T * scale) v of one head of one position; strides are of frames (0) and positions (1)."""
    at, head, clip = tl.program_id(0).to(tl.int64), tl.program_id(1), tl.program_id(2)
    t = tl.arange(0, T)
    frame = clip.to(tl.int64) * frames + t
    column = head * D + tl.arange(0, D)
    known = (t < frames)[:, None]
    a = tl.load(q + (frame * q0 + at * q1)[:, None] + column[None, :], mask=known, other=0.0)
    b = tl.load(k + (frame * k0 + at * k1)[:, None] + column[None, :], mask=known, other=0.0)
    w = tl.load(v + (frame * v0 + at * v1)[:, None] + column[None, :], mask=known, other=0.0)
    if WIDEN:  # the interpreter multiplies bfloat16's bits as integers
        a, b, w = a.to(tl.float32), b.to(tl.float32), w.to(tl.float32)
    scores = tl.dot(a, tl.trans(b), input_precision="ieee") * scale
    scores = tl.where((t < frames)[None, :], scores, float("-inf"))
    weights = tl.exp(scores - tl.max(scores, 1)[:, None])
    weights = weights / tl.sum(weights, 1)[:, None]
    mixed = tl.dot(weights.to(w.dtype), w, input_precision="ieee")
    tl.store(out + (frame * o0 + at * o1)[:, None] + column[None, :], mixed.to(out.dtype.element_ty), mask=known)
