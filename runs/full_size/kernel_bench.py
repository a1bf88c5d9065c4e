"""Each GPU kernel at SVD's own sizes: its error against float64 on a part, its seconds beside torch's own and a copy's.

Needs Triton and a GPU (or its interpreter, at tiny sizes).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from sfv.costs.roofline import Ceilings, seconds
from sfv.kernels import geglu, group_norm_silu, scaled_softmax, temporal_attention

Call = Callable[[], Tensor]


@dataclass(frozen=True)
class Case:
    """A kernel's call, torch's own, the same in float64 on a small part, and the bytes that must move."""

    ours: Call
    torchs: Call
    error: Callable[[], float]
    moved: int


def kernels(device: torch.device, shrink: int, top: Ceilings, rounds: int) -> dict[str, Any]:
    """Milliseconds, torch's, times the least time at the copy's bandwidth, error; `shrink` divides every side."""
    result = {}
    for name, case in cases(device, shrink).items():
        ours, torchs = (seconds(c, device, rounds) for c in (case.ours, case.torchs))
        floor = case.moved / top.bandwidth
        result[name] = {"ms": 1e3 * ours, "torch_ms": 1e3 * torchs, "over_floor": ours / floor, "error": case.error()}
    return result


def cases(device: torch.device, shrink: int) -> dict[str, Case]:
    """The largest norms of decoder and UNet, UNet's first attention over time, its first GEGLU, the decoder's
    attention."""
    h, w = 576 // shrink, 1024 // shrink
    f = 14 if shrink == 1 else 4
    found = {
        f"norm over time 1x128x{f}x{h * w}": norm(device, 1, 128, f, h * w),
        f"norm of frames {f}x128x{h}x{w}": norm(device, f, 128, h, w),
        f"norm of frames {f}x320x{h // 8}x{w // 8}": norm(device, f, 320, h // 8, w // 8),
    }
    y, x = h // 8, w // 8
    found[f"attention over time {f}x{y * x}x320"] = attention(device, f, y * x)
    found[f"geglu {f * y * x}x2560"] = gated(device, f * y * x)
    found[f"softmax {y * x}x{y * x}"] = softmax(device, y * x)
    found[f"conv over time {f}x128x{h * w // 4}"] = conv(device, f, h // 2, w // 2)
    return found


def norm(device: torch.device, n: int, c: int, h: int, w: int) -> Case:
    """GroupNorm with SiLU in bf16; torch's own on contiguous maps, which it takes best."""
    x = torch.randn(n, c, h, w, device=device, dtype=torch.bfloat16)
    last = x.contiguous(memory_format=torch.channels_last)
    v, b = torch.randn(2, c, device=device, dtype=torch.bfloat16)

    def error() -> float:
        part = last[:1, :, : max(1, h // 8)].contiguous(memory_format=torch.channels_last)
        want = group_norm_silu.reference(part.double(), 32, v.double(), b.double(), 1e-6, True)
        return off(group_norm_silu.group_norm_silu(part, 32, v, b, 1e-6, True), want)

    return Case(
        lambda: group_norm_silu.group_norm_silu(last, 32, v, b, 1e-6, True),
        lambda: group_norm_silu.reference(x, 32, v, b, 1e-6, True),
        error,
        3 * x.numel() * x.element_size(),
    )


def attention(device: torch.device, f: int, s: int) -> Case:
    """Five heads of 64."""
    q, k, v = torch.randn(3, f, s, 320, device=device, dtype=torch.bfloat16)

    def error() -> float:
        a, b, c = (t[:, :32].contiguous() for t in (q, k, v))
        want = temporal_attention.reference(a.double(), b.double(), c.double(), f, 5)
        return off(temporal_attention.temporal_attention(a, b, c, f, 5), want)

    return Case(
        lambda: temporal_attention.temporal_attention(q, k, v, f, 5),
        lambda: temporal_attention.reference(q, k, v, f, 5),
        error,
        4 * q.numel() * q.element_size(),
    )


def gated(device: torch.device, rows: int) -> Case:
    """Of 1280 channels."""
    x = torch.randn(rows, 2560, device=device, dtype=torch.bfloat16)
    return Case(
        lambda: geglu.geglu(x),
        lambda: geglu.reference(x),
        lambda: off(geglu.geglu(x[:64]), geglu.reference(x[:64].double())),
        3 * x.numel() * x.element_size() // 2,
    )


def softmax(device: torch.device, n: int) -> Case:
    """float32 in, bf16 out."""
    x = torch.randn(n, n, device=device) * 9
    dtype = torch.bfloat16
    return Case(
        lambda: scaled_softmax.scaled_softmax(x, 0.3, dtype),
        lambda: scaled_softmax.reference(x, 0.3, dtype),
        lambda: off(
            scaled_softmax.scaled_softmax(x[:64], 0.3, dtype),
            scaled_softmax.reference(x[:64].double(), 0.3, torch.float64),
        ),
        6 * x.numel(),
    )


def conv(device: torch.device, f: int, h: int, w: int) -> Case:
    """No kernel of ours: a (3, 1, 1) convolution as a flat one on channels-last maps against cuDNN's Conv3d, whose
    error against float64 is reported (some builds were wrong in bfloat16: pytorch #163539)."""
    x = torch.randn(1, 128, f, h * w, device=device, dtype=torch.bfloat16)
    weight = torch.randn(128, 128, 3, 1, 1, device=device, dtype=torch.bfloat16) / 20
    last, deep = x.contiguous(memory_format=torch.channels_last), x.view(1, 128, f, h, w)
    few = deep[..., :8]
    return Case(
        lambda: F.conv2d(last, weight[..., 0], padding=(1, 0)),
        lambda: F.conv3d(deep, weight, padding=(1, 0, 0)),
        lambda: off(
            F.conv3d(few, weight, padding=(1, 0, 0)),
            F.conv3d(few.double().cpu(), weight.double().cpu(), padding=(1, 0, 0)).to(device),
        ),
        2 * x.numel() * x.element_size(),
    )


def off(got: Tensor, want: Tensor) -> float:
    """Relative L2 error."""
    return float((got.double() - want).norm() / want.norm())
