"""Optimisers beside PyTorch's own.

Muon with Adam for what is not a matrix (Jordan 2024; scaling of Liu et al. 2502.16982), in one; SM3; Adam in 8 bits.
"""

import functools
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, Replicate, Shard, distribute_tensor
from torch.optim import Optimizer

from sfv.errors import SfvError
from sfv.system.device import computes_bf16

# Newton-Schulz quintic: drives every singular value toward 1 in five rounds (coefficients from Jordan 2024).
QUINTIC = (3.4445, -4.7750, 2.0315)


def orthogonalise(g: Tensor, rounds: int = 5, dtype: torch.dtype | None = None) -> Tensor:
    """The nearest semi-orthogonal matrix to each of g (..., m, n), approximately, by Newton-Schulz iteration.

    `dtype` is what it computes in; None: bfloat16, on a CPU without it float32.
    """
    dtype = dtype or (torch.bfloat16 if computes_bf16(g.device) else torch.float32)
    a, b, c = QUINTIC
    x = (g / (g.norm(dim=(-2, -1), keepdim=True) + 1e-7)).to(dtype)
    x = x.mT if g.shape[-2] > g.shape[-1] else x
    for _ in range(rounds):
        s = x @ x.mT
        x = a * x + (b * s + c * s @ s) @ x
    return (x.mT if g.shape[-2] > g.shape[-1] else x).to(g.dtype)


class Muon(Optimizer):
    """Orthogonalised momentum for weights of two or more axes (convolutions as out x rest), Adam for the others.

    Matrix updates are scaled to Adam's usual size, 0.2 * sqrt(max(m, n)) per matrix, so one learning rate serves both.
    """

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        lr: float,
        momentum: float = 0.95,
        weight_decay: float = 0.0,
        dtype: torch.dtype | None = None,
    ) -> None:
        self.dtype = dtype
        params = [p for p in parameters if p.requires_grad]
        matrices = [p for p in params if p.dim() >= 2 and min(p.shape[0], p[0].numel()) >= 8]
        known = {id(p) for p in matrices}
        groups: list[dict[str, Any]] = [
            {"params": matrices, "matrix": True},
            {"params": [p for p in params if id(p) not in known], "matrix": False},
        ]
        super().__init__(groups, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """One update of every parameter that has a gradient; matrices of one shape are orthogonalised together."""
        for group in self.param_groups:
            alike: dict[tuple[int, int], list[nn.Parameter]] = {}
            for p in group["params"]:
                if p.grad is not None and group["matrix"]:
                    alike.setdefault((p.shape[0], p[0].numel()), []).append(p)
                elif p.grad is not None:
                    self._move(p, self._adam(p, p.grad), group)
            for shape, some in alike.items():
                ahead = torch.stack([self._momentum(p, group["momentum"]).flatten(1) for p in some])
                for p, move in zip(some, orthogonalise(ahead, dtype=self.dtype), strict=True):
                    self._move(p, move * 0.2 * max(shape) ** 0.5, group)

    @staticmethod
    def _move(p: nn.Parameter, move: Tensor, group: dict[str, Any]) -> None:
        p.mul_(1 - group["lr"] * group["weight_decay"])
        p.add_(move.view_as(p), alpha=-group["lr"])

    def _momentum(self, p: nn.Parameter, keep: float) -> Tensor:
        """Nesterov's look-ahead gradient."""
        momentum = self.state[p].setdefault("momentum", torch.zeros_like(p))
        momentum.lerp_(p.grad, 1 - keep)
        assert p.grad is not None
        return p.grad.lerp(momentum, keep)

    def _adam(self, p: Tensor, grad: Tensor, b1: float = 0.9, b2: float = 0.99) -> Tensor:
        state = self.state[p]
        count = state.setdefault("count", torch.zeros(()))
        mean = state.setdefault("mean", torch.zeros_like(p))
        square = state.setdefault("square", torch.zeros_like(p))
        count += 1
        mean.lerp_(grad, 1 - b1)
        square.lerp_(grad.square(), 1 - b2)
        return mean / (1 - b1**count) / ((square / (1 - b2**count)).sqrt() + 1e-8)


class SM3(Optimizer):
    """One accumulator for each axis instead of one number per weight: SF-V's choice (Anil et al., 1901.11150, SM3-II).

    As the package PyTorch-SM3 does it, whose argument names SF-V uses. Of a weight of k axes, accumulators a_1 .. a_k:

        v = beta min_i a_i + (1 - beta) g^2        (beta = 0: min_i a_i + g^2)
        a_i = max(a_i, max of v over all axes but i)        never falls
        m = momentum m + (1 - momentum) g / sqrt(v + eps)
        w = w - lr m

    There is no bias correction: with the paper's beta the first update is (1 - momentum) / sqrt(1 - beta) = 15.8 times
    lr for every weight, and the next ones 8 and 5 times. A warm-up softens that.
    """

    def __init__(
        self, parameters: Any, lr: float, momentum: float = 0.5, beta: float = 0.999, eps: float = 1e-30
    ) -> None:
        super().__init__(parameters, {"lr": lr, "momentum": momentum, "beta": beta, "eps": eps})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """One update of every parameter that has a gradient."""
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    self._one(p, p.grad, group)

    def _one(self, p: nn.Parameter, grad: Tensor, group: dict[str, Any]) -> None:
        state, axes, beta = self.state[p], range(max(1, grad.dim())), group["beta"]
        before = [self._accumulator(state, grad, axis) for axis in axes]
        square = (beta or 1.0) * functools.reduce(torch.minimum, before) + (1 - beta) * grad**2
        for axis, past in zip(axes, before, strict=True):
            others = [d for d in range(grad.dim()) if d != axis]
            peak = square.amax(others, keepdim=True) if others else square
            if isinstance(peak, DTensor) and isinstance(past, DTensor):
                peak = peak.redistribute(placements=past.placements)
            state[f"accumulator_{axis}"] = torch.maximum(past, peak)
        move = grad * (square + group["eps"]).rsqrt()
        if isinstance(p, DTensor) and isinstance(move, DTensor):
            move = move.redistribute(placements=p.placements)
        momentum = state.setdefault("momentum", torch.zeros_like(p))
        momentum.lerp_(move, 1 - group["momentum"])
        p.add_(momentum, alpha=-group["lr"])

    @staticmethod
    def _accumulator(state: dict[str, Any], grad: Tensor, axis: int) -> Tensor:
        """Of one axis, 1 along the others, zero at first. Of a gradient sharded by rows: the rows' lies with them."""
        value = state.get(f"accumulator_{axis}")
        if value is None:
            shape = [n if d == axis else 1 for d, n in enumerate(grad.shape)]
            value = torch.zeros(shape, dtype=grad.dtype, device=grad.device)
        if isinstance(grad, DTensor) and not isinstance(value, DTensor):
            return distribute_tensor(value, grad.device_mesh, [Shard(0) if axis == 0 else Replicate()])
        return value


def adam8(groups: list[dict[str, Any]], lr: float, betas: tuple[float, float]) -> Optimizer:
    """bitsandbytes' Adam: both averages in 8 bits, by blocks of 256 (Dettmers 2110.02861); of small weights in 32.

    SfvError without bitsandbytes, and for sharded weights.
    """
    try:
        from bitsandbytes.optim import Adam8bit
    except ImportError as error:
        raise SfvError('optimizer=adam8 needs bitsandbytes; install it with: pip install "sfv[eight-bit]"') from error
    if any(isinstance(p, DTensor) for group in groups for p in group["params"]):
        raise SfvError("optimizer=adam8 takes no sharded weights; use sm3 with fsdp, or ddp")
    optimizer: Optimizer = Adam8bit(groups, lr=lr, betas=betas)
    return optimizer
