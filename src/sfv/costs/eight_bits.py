"""What Adam in 8 bits keeps, where there are no numbers: bitsandbytes has no meta device."""

from typing import Any

import torch
from torch.optim import Optimizer

EIGHT_BIT_FROM, EIGHT_BIT_BLOCK = 4096, 256
"""Numbers from which a weight's averages are kept in 8 bits, and how many have one scale."""


class EightBitStates(Optimizer):
    """Keeps what `adam8` would, and changes nothing."""

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """State of every parameter that has a gradient."""
        for p in [p for group in self.param_groups for p in group["params"] if p.grad is not None]:
            of_one = self.state[p]
            for i in (1, 2):
                if p.numel() < EIGHT_BIT_FROM:
                    of_one.setdefault(f"state{i}", torch.zeros_like(p, dtype=torch.float32))
                    continue
                of_one.setdefault(f"state{i}", torch.zeros_like(p, dtype=torch.uint8))
                of_one.setdefault(f"absmax{i}", torch.zeros(-(-p.numel() // EIGHT_BIT_BLOCK), device=p.device))
                of_one.setdefault(f"qmap{i}", torch.zeros(256, device=p.device))
