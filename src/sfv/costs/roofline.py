"""What a device can do, measured, and the least time that a network's arithmetic and traffic need at those rates.

A network's floor is the sum over its convolutions, matrix products and attentions of max(FLOP / rate, bytes /
bandwidth): each input read once, each result written once, everything else free.
"""

import math
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from sfv.system.timing import now

ATTENTION = ("aten::_scaled_dot_product", "aten::scaled_dot_product", "sfv::temporal_attention")


@dataclass(frozen=True)
class Ceilings:
    """FLOP/s of a large bf16 matrix product; bytes/s of a copy on the device (read + written), and to the host."""

    flops: float
    bandwidth: float
    to_host: float


def ceilings(device: torch.device, side: int, copied: int, rounds: int = 20) -> Ceilings:
    """Measured here and now on random data: side x side products, `copied` bytes."""
    a, b = (torch.randn(side, side, device=device, dtype=torch.bfloat16) for _ in range(2))
    source = torch.randint(0, 255, (copied,), dtype=torch.uint8, device=device)
    target, part = torch.empty_like(source), source[: copied // 8]
    host = torch.empty(len(part), dtype=torch.uint8, pin_memory=device.type == "cuda")
    product = seconds(lambda: a @ b, device, rounds)
    copy = seconds(lambda: target.copy_(source), device, rounds)
    out = seconds(lambda: host.copy_(part), device, rounds)
    return Ceilings(2 * side**3 / product, 2 * copied / copy, len(part) / out)


def seconds(call: Callable[[], Any], device: torch.device, rounds: int) -> float:
    """Median seconds of a call after three to warm up: by the GPU's own events, where there is one."""
    for _ in range(3):
        call()
    return statistics.median(once(call, device)[0] for _ in range(rounds))


def once(call: Callable[[], Any], device: torch.device) -> tuple[float, float]:
    """Seconds of one call by the GPU's events, and by the wall; on a CPU both are the wall's."""
    start = now(device)
    if device.type != "cuda":
        call()
        return (time.perf_counter() - start,) * 2
    marks = [torch.cuda.Event(enable_timing=True) for _ in range(2)]
    marks[0].record()
    call()
    marks[1].record()
    wall = now(device) - start
    return marks[0].elapsed_time(marks[1]) / 1e3, wall


class Roofline(TorchDispatchMode):
    """Adds up FLOP, bytes and floor of what runs inside the block; nothing may be compiled or replayed there."""

    def __init__(self, top: Ceilings) -> None:
        super().__init__()
        self.top = top
        self.flops = self.bytes = 0
        self.floor = 0.0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        known = func.overloadpacket in flop_registry or func._schema.name.startswith(ATTENTION)
        if not known:
            with self:
                inner = func.decompose(*args, **(kwargs or {}))
            if inner is not NotImplemented:
                return inner
        out = func(*args, **(kwargs or {}))
        if known:
            self._add(func, args, kwargs or {}, out)
        return out

    def _add(self, func: Any, args: Any, kwargs: Any, out: Any) -> None:
        if func._schema.name.startswith(ATTENTION):
            flops = _attention(func._schema.name, args)
            moved = [*args[:3], out if isinstance(out, Tensor) else out[0]]
        else:
            flops = int(flop_registry[func.overloadpacket](*args, **kwargs, out_val=out))
            moved = [t for t in tree_leaves((args, out)) if isinstance(t, Tensor)]
        size = sum(t.numel() * t.element_size() for t in moved)
        self.flops, self.bytes = self.flops + flops, self.bytes + size
        self.floor += max(flops / self.top.flops, size / self.top.bandwidth)


def _attention(name: str, args: Any) -> int:
    """FLOP of both products."""
    q, k = args[:2]
    if name.startswith("sfv"):  # (b * t, s, c), t keys for each token
        return 4 * q.numel() * int(args[3])
    return 4 * math.prod(q.shape) * int(k.shape[-2])
