"""Exponential moving average of weights."""

import copy
from typing import Any

import torch
from torch import nn


class EMA:
    """Keeps `average`, a frozen copy of `model` that trails it.

    The decay warms up as (1 + k) / (10 + k) after k updates, so that short runs forget their start.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.model, self.decay, self.updates = model, decay, 0
        self.average = copy.deepcopy(model).eval().requires_grad_(False)

    @torch.no_grad()
    def update(self) -> None:
        """One step toward the live weights."""
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        for slow, live in zip(self.average.parameters(), self.model.parameters(), strict=True):
            slow.lerp_(live, 1 - decay)

    def state_dict(self) -> dict[str, Any]:
        """Tensors and the number of updates."""
        return {"updates": torch.tensor(self.updates), **self.average.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Inverse of `state_dict`."""
        state = dict(state)
        self.updates = int(state.pop("updates"))
        self.average.load_state_dict(state)
