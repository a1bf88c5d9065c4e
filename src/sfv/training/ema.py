"""Exponential moving average of weights."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from sfv.training.parallel import full, like


class EMA:
    """Keeps a slow copy of the parameters that learn; of a sharded model each rank keeps its shard's.

    The decay warms up as (1 + k) / (10 + k) after k updates, so that short runs forget their start.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.model, self.decay, self.updates = model, decay, 0
        self.slow: dict[str, Tensor] = {n: p.detach().clone() for n, p in model.named_parameters() if p.requires_grad}

    @torch.no_grad()
    def update(self) -> None:
        """One step toward the live weights."""
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        for name, live in self.model.named_parameters():
            if name in self.slow:
                self.slow[name].lerp_(live, 1 - decay)

    def state_dict(self) -> dict[str, Any]:
        """Tensors in whole, and the number of updates."""
        return {"updates": torch.tensor(self.updates), **{n: full(v) for n, v in self.slow.items()}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Inverse of `state_dict`."""
        self.updates = int(state["updates"])
        if self.slow.keys() != state.keys() - {"updates"}:
            raise KeyError(sorted(self.slow.keys() ^ (state.keys() - {"updates"}))[0])
        self.slow = {n: like(state[n], v) for n, v in self.slow.items()}

    @contextmanager
    def applied(self) -> Iterator[None]:
        """The live model with its averaged weights, inside the block; costs a copy of what learns."""
        mine = {n: p for n, p in self.model.named_parameters() if n in self.slow}
        kept = {n: p.detach().clone() for n, p in mine.items()}
        try:
            _fill(mine, self.slow)
            yield
        finally:
            _fill(mine, kept)

    @torch.no_grad()
    def into(self, module: nn.Module, share: float = 1.0) -> None:
        """Move a whole module of the same parameters to the average, or `share` of the way there (all ranks call)."""
        for name, p in module.named_parameters():
            if name in self.slow:
                p.lerp_(full(self.slow[name]).to(p), share)


@torch.no_grad()
def _fill(targets: Mapping[str, Tensor], values: Mapping[str, Tensor]) -> None:
    for name, target in targets.items():
        target.copy_(values[name])
