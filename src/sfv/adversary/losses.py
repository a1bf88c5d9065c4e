"""The adversary's losses as functions of tensors; logits are high for real.

SF-V (2406.04324) Eq. 8, 10 and 11 write the discriminator low for real; the usual sign is used here, so each
equation's D is the negative of ours.
"""

from collections.abc import Callable
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from sfv.types import Features, Latents, Logits


def over_heads(each: list[Tensor], weight: Tensor | None = None) -> Tensor:
    """Mean over positions, then over clips weighed by `weight` (b,), then over heads evenly; each is (b, positions)."""
    if weight is None:
        return torch.stack([v.mean() for v in each]).mean()
    return torch.stack([(v.mean(1) * weight).sum() / weight.sum() for v in each]).mean()


def hinge_real(logits: list[Logits]) -> Tensor:
    """E[max(0, 1 - D(real))] (Eq. 11, first term)."""
    return over_heads([(1 - v).relu() for v in logits])


def hinge_fake(logits: list[Logits]) -> Tensor:
    """E[max(0, 1 + D(fake))] (Eq. 11, second term)."""
    return over_heads([(1 + v).relu() for v in logits])


def adversarial(logits: list[Logits], weight: Tensor | None = None) -> Tensor:
    """-E[D(fake)], what the generator lowers (Eq. 8)."""
    return over_heads([-v for v in logits], weight)


def softplus_discriminator(real: list[Logits], fake: list[Logits]) -> Tensor:
    """E[softplus(-D(real))] + E[softplus(D(fake))] (Goodfellow et al. 1406.2661, logistic form)."""
    return over_heads([F.softplus(-v) for v in real]) + over_heads([F.softplus(v) for v in fake])


def softplus_generator(fake: list[Logits], real: list[Logits], weight: Tensor | None = None) -> Tensor:
    """E[softplus(-D(fake))], non-saturating."""
    return over_heads([F.softplus(-v) for v in fake], weight)


def relativistic_discriminator(real: list[Logits], fake: list[Logits]) -> Tensor:
    """E[softplus(D(fake) - D(real))] over pairs that share picture, noise and position (R3GAN, 2501.05441)."""
    return over_heads([F.softplus(f - r) for r, f in zip(real, fake, strict=True)])


def relativistic_generator(fake: list[Logits], real: list[Logits], weight: Tensor | None = None) -> Tensor:
    """E[softplus(D(real) - D(fake))]."""
    return over_heads([F.softplus(r - f) for r, f in zip(real, fake, strict=True)], weight)


class Loss(NamedTuple):
    """One adversarial objective: what D lowers (real, fake) and what G lowers (fake, real, weight)."""

    discriminator: Callable[[list[Logits], list[Logits]], Tensor]
    generator: Callable[[list[Logits], list[Logits], Tensor | None], Tensor]


LOSSES = {
    "hinge": Loss(lambda r, f: hinge_real(r) + hinge_fake(f), lambda f, _, w: adversarial(f, w)),
    "softplus": Loss(softplus_discriminator, softplus_generator),
    "relativistic": Loss(relativistic_discriminator, relativistic_generator),
}


def smoothness(logits: list[Logits], near: list[Logits]) -> Tensor:
    """E[|D(x') - D(x' + a n)|^2]: approximate R1 on real, R2 on fake, without a second backward (2501.08316, Eq. 4)."""
    return over_heads([(v - w) ** 2 for v, w in zip(logits, near, strict=True)])


def feature_matching(fake: list[Features], real: list[Features]) -> Tensor:
    """Mean absolute difference of frozen features of a pair, per clip, (b,), backbone blocks weighted evenly."""
    each = [(f - r.detach()).abs().mean((1, 2, 3, 4)) for f, r in zip(fake, real, strict=True)]
    return torch.stack(each).mean(0)


def pseudo_huber(x0_hat: Latents, x0: Latents, c: float, over: Literal["clip", "element"] = "element") -> Tensor:
    """Per clip, (b,). clip: sqrt(|d|^2 + c^2) - c with the L2 norm of the whole clip's d (Eq. 9; the paper leaves c
    open). element: the same of every number by itself, averaged, as OSV (2409.11367) and AnimateLCM do.

    Of n numbers a clip, the first one's gradient is sqrt(n) times the other's where |d| is well above c.
    """
    square = (x0_hat - x0) ** 2
    if over == "clip":
        return (square.sum((1, 2, 3, 4)) + c**2).sqrt() - c
    return ((square + c**2).sqrt() - c).mean((1, 2, 3, 4))


def stillness(x0_hat: Latents, x0: Latents) -> Tensor:
    """How much less a clip changes over time than its pair, (b,): max(0, ln v(x0) - ln v(x0_hat))^2, v the variance of
    every latent number over frames, averaged. Nothing for one that moves more."""
    ours, real = (x.var(1).mean((1, 2, 3)).clamp(min=1e-6).log() for x in (x0_hat, x0))
    return (real.detach() - ours).relu() ** 2


def r1(logits: list[Logits], features: list[Tensor]) -> Tensor:
    """Squared gradient of the real logits at the head inputs, per clip and position (ADD 2311.17042, Eq. 3).

    `features` must require grad and have produced `logits`. The gradient is of the summed logits, divided by
    the number of positions, so the value does not grow with the clip.
    """
    grads = torch.autograd.grad(torch.stack([v.sum() for v in logits]).sum(), features, create_graph=True)
    return torch.stack([g.square().sum(2).mean() for g in grads]).mean()
