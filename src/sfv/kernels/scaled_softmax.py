"""softmax(scale * scores) of float32 rows, written in the precision of what it will be multiplied with: one pass.

For attention whose heads are too wide for flash kernels (512 in SVD's autoencoder), between two matrix products.
Against float64 the relative L2 error is at most 1e-6 in float32 and that of one rounding in half precision.
"""

from typing import no_type_check

import torch
import triton
import triton.language as tl
from torch import Tensor

LONGEST = 32768
"""Numbers of a row; a program holds it whole."""


def reference(scores: Tensor, scale: float, dtype: torch.dtype) -> Tensor:
    """The same by plain torch, (rows, n) -> (rows, n)."""
    return (scores * scale).softmax(-1).to(dtype)


@torch.library.custom_op("sfv::scaled_softmax", mutates_args=())
def scaled_softmax(scores: Tensor, scale: float, dtype: torch.dtype) -> Tensor:
    """(rows, n), dense, float32 -> (rows, n) in `dtype`."""
    rows, n = scores.shape
    out = torch.empty_like(scores, dtype=dtype)
    with torch.cuda.device_of(out):
        _rows[(rows,)](scores, out, n, scale, WIDE=triton.next_power_of_2(n), num_warps=8)
    return out


@scaled_softmax.register_fake
def _(scores: Tensor, scale: float, dtype: torch.dtype) -> Tensor:
    return torch.empty_like(scores, dtype=dtype)


@triton.jit
@no_type_check
def _rows(scores, out, n, scale, WIDE: tl.constexpr):
    """One row."""
    base, column = tl.program_id(0).to(tl.int64) * n, tl.arange(0, WIDE)
    v = tl.load(scores + base + column, mask=column < n, other=float("-inf")) * scale
    e = tl.exp(v - tl.max(v, 0))
    tl.store(out + base + column, (e / tl.sum(e, 0)).to(out.dtype.element_ty), mask=column < n)
