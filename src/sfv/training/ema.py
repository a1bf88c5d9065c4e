"""Exponential moving average of weights."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from sfv.errors import SfvError
from sfv.system.device import host_of
from sfv.training.parallel import full, like


class EMA:
    """Keeps a slow copy of the parameters that learn; of a sharded model each rank keeps its shard's.

    The decay warms up as (1 + k) / (10 + k) after k updates, so that short runs forget their start. `on_host` keeps the
    copy in the host's memory: every update then sends the weights there.
    """

    def __init__(self, model: nn.Module, decay: float, on_host: bool = False) -> None:
        self.model, self.decay, self.updates = model, decay, 0
        learning = {n: p.detach() for n, p in model.named_parameters() if p.requires_grad}
        if on_host and any(isinstance(p, DTensor) for p in learning.values()):
            raise SfvError("average=host is for one card or ddp; under fsdp every rank keeps its shard's on its card")
        self.slow: dict[str, Tensor] = {
            n: p.to(host_of(p.device), copy=True) if on_host else p.clone() for n, p in learning.items()
        }

    @torch.no_grad()
    def update(self) -> None:
        """One step toward the live weights."""
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        for name, live in self.model.named_parameters():
            if name in self.slow:
                self.slow[name].lerp_(live.to(self.slow[name].device), 1 - decay)

    def state_dict(self) -> dict[str, Any]:
        """Tensors, sharded as they are, and the number of updates."""
        return {"updates": torch.tensor(self.updates), **self.slow}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Inverse of `state_dict`."""
        self.updates = int(state["updates"])
        if self.slow.keys() != state.keys() - {"updates"}:
            raise KeyError(sorted(self.slow.keys() ^ (state.keys() - {"updates"}))[0])
        self.slow = {n: like(state[n], v) for n, v in self.slow.items()}

    @contextmanager
    def applied(self) -> Iterator[None]:
        """The live model with its averaged weights, inside the block; both change places, one tensor at a time."""
        mine = {n: p for n, p in self.model.named_parameters() if n in self.slow}
        _exchange(mine, self.slow)
        try:
            yield
        finally:
            _exchange(mine, self.slow)

    @torch.no_grad()
    def into(self, module: nn.Module, share: float = 1.0) -> None:
        """Move a whole module of the same parameters to the average, or `share` of the way there (all ranks call)."""
        for name, p in module.named_parameters():
            if name in self.slow:
                p.lerp_(full(self.slow[name]).to(p), share)


@torch.no_grad()
def _exchange(some: Mapping[str, Tensor], others: Mapping[str, Tensor]) -> None:
    for name, one in some.items():
        kept = one.detach().clone()
        one.copy_(others[name])
        others[name].copy_(kept)
