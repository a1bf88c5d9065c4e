"""Muon with Adam for what is not a matrix (Jordan 2024; scaling of Liu et al. 2502.16982), in one optimiser."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, Placement, Replicate, Shard, distribute_tensor
from torch.optim import Optimizer

# Newton-Schulz quintic: drives every singular value toward 1 in five rounds (coefficients from Jordan 2024).
QUINTIC = (3.4445, -4.7750, 2.0315)


def orthogonalise(g: Tensor, rounds: int = 5, dtype: torch.dtype = torch.bfloat16) -> Tensor:
    """The nearest semi-orthogonal matrix to each of g (..., m, n), approximately, by Newton-Schulz iteration."""
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
        dtype: torch.dtype = torch.bfloat16,
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


SUMS = ("rows", "columns")


class SM3(Optimizer):
    """Row and column accumulators instead of one number per weight (Anil et al., 1901.11150, SM3-II): SF-V's choice.

    Every weight's second moment is the smaller of its row's and its column's; with beta < 1 the accumulators forget.
    State of a matrix (m, n): momentum, m + n numbers. Tensors of more axes count as out x rest.
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
        state, g = self.state[p], grad.reshape(len(grad), -1) if grad.dim() > 1 else grad[None]
        ways = (Shard(0), Replicate()) if grad.dim() > 1 else (Replicate(), Shard(0))
        rows, columns = (
            self._placed(state, k, g, axis, way) for axis, (k, way) in enumerate(zip(SUMS, ways, strict=True))
        )
        seen = torch.minimum(rows[:, None], columns[None])
        square = group["beta"] * seen + (1 - group["beta"]) * g**2 if group["beta"] < 1 else seen + g**2
        state["rows"], state["columns"] = square.amax(1), square.amax(0)
        move = (g * (square + group["eps"]).rsqrt()).view_as(p)
        if isinstance(p, DTensor) and isinstance(move, DTensor):
            move = move.redistribute(placements=p.placements)
        momentum = state.setdefault("momentum", torch.zeros_like(p))
        momentum.lerp_(move, 1 - group["momentum"])
        p.add_(momentum, alpha=-group["lr"])

    @staticmethod
    def _placed(state: dict[str, Any], name: str, g: Tensor, axis: int, way: Placement) -> Tensor:
        """An accumulator of `g`'s axis, zero at first; of a sharded gradient it lies where `way` says."""
        value = state.get(name)
        if value is None:
            value = torch.zeros(g.shape[axis], dtype=g.dtype, device=g.device)
        if not isinstance(g, DTensor):
            return value
        if isinstance(value, DTensor):
            return value.redistribute(placements=[way])
        return distribute_tensor(value, g.device_mesh, [way])
