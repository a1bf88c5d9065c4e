"""The adversary's losses as functions of tensors; logits are high for real.

SF-V (2406.04324) Eq. 8-11 writes the discriminator low for real; the usual sign is used here, so each
equation's D is the negative of ours.
"""

import torch
from torch import Tensor

from sfv.types import Latents, Logits


def hinge_real(logits: list[Logits]) -> Tensor:
    """E[max(0, 1 - D(real))], heads weighted equally (Eq. 8, first term)."""
    return torch.stack([(1 - v).relu().mean() for v in logits]).mean()


def hinge_fake(logits: list[Logits]) -> Tensor:
    """E[max(0, 1 + D(fake))] (Eq. 8, second term)."""
    return torch.stack([(1 + v).relu().mean() for v in logits]).mean()


def adversarial(logits: list[Logits], weight: Tensor | None = None) -> Tensor:
    """-E[D(fake)], what the generator lowers (Eq. 10); `weight` (b,) weighs clips."""
    if weight is None:
        return -torch.stack([v.mean() for v in logits]).mean()
    return -torch.stack([(v.mean(1) * weight).sum() / weight.sum() for v in logits]).mean()


def pseudo_huber(x0_hat: Latents, x0: Latents, c: float) -> Tensor:
    """Element-wise sqrt(d^2 + c^2) - c, averaged per clip, (b,) (Eq. 11; the paper leaves c and the norm open)."""
    return (((x0_hat - x0) ** 2 + c**2).sqrt() - c).mean((1, 2, 3, 4))


def r1(logits: list[Logits], features: list[Tensor]) -> Tensor:
    """Squared gradient of the real logits at the head inputs, per clip and position (ADD 2311.17042, Eq. 3).

    `features` must require grad and have produced `logits`. The gradient is of the summed logits, divided by
    the number of positions, so the value does not grow with the clip.
    """
    grads = torch.autograd.grad(torch.stack([v.sum() for v in logits]).sum(), features, create_graph=True)
    return torch.stack([g.square().sum(2).mean() for g in grads]).mean()
