"""SF-V's algorithm (2406.04324, Sec. 3) on one page.

G: x0_hat = G(x0 + sigma n; sigma, cond), sigma from a few levels of which the last is where inference starts.
D sees x0 + sigma' n' and x0_hat + sigma' n', sigma' from a discretised log-normal law (Eq. 7), through the frozen
encoder; only its heads learn. Both share sigma', n' and one frozen pass; the heads learn first, on detached
features, then G is judged by the heads as they are now.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from sfv.adversary.discriminator import Discriminator
from sfv.adversary.losses import adversarial, hinge_fake, hinge_real, pseudo_huber, r1
from sfv.edm.denoiser import Denoiser
from sfv.edm.noise import add_noise
from sfv.types import Cond, Features, Latents, Sigma

Logs = dict[str, float]


@dataclass(frozen=True)
class Draw:
    """Everything random in one step; the step itself is a function of its arguments."""

    sigma: Sigma  # what G starts from
    n: Latents
    sigma_d: Sigma  # what D sees
    n_d: Latents


@dataclass(frozen=True)
class Judged:
    """One G forward and one frozen pass over fake and real."""

    x0_hat: Latents
    fake: list[Features]  # carry G's gradient
    real: list[Features]


def judge(G: Denoiser, D: Discriminator, x0: Latents, cond: Cond, draw: Draw) -> Judged:
    """Generate, noise both alike, and take the backbone's features."""
    x0_hat = G(add_noise(x0, draw.sigma, draw.n), draw.sigma, cond)
    fake = D.features(add_noise(x0_hat, draw.sigma_d, draw.n_d), draw.sigma_d, cond)
    with torch.no_grad():
        real = D.features(add_noise(x0, draw.sigma_d, draw.n_d), draw.sigma_d, cond)
    return Judged(x0_hat, fake, real)


def discriminator_loss(D: Discriminator, seen: Judged, cond: Cond, draw: Draw, gamma: float) -> tuple[Tensor, Logs]:
    """E[max(0, 1 - D(real))] + E[max(0, 1 + D(fake))] + gamma * R1 (Eq. 8, usual sign)."""
    real_in = [h.detach().requires_grad_(gamma > 0) for h in seen.real]
    real = D.logits(real_in, draw.sigma_d, cond)
    fake = D.logits([h.detach() for h in seen.fake], draw.sigma_d, cond)
    penalty = r1(real, real_in) if gamma > 0 else real[0].new_zeros(())
    loss = hinge_real(real) + hinge_fake(fake) + gamma * penalty
    logs = {
        "d_loss": float(loss.detach()),
        "d_real": mean_logit(real),
        "d_fake": mean_logit(fake),
        "d_accuracy": accuracy(real, fake),
        "r1": float(penalty.detach()),
    }
    return loss, logs


def generator_loss(
    D: Discriminator,
    seen: Judged,
    x0: Latents,
    cond: Cond,
    draw: Draw,
    weights: Tensor,
    reconstruction: Tensor,
    c: float,
) -> tuple[Tensor, Logs]:
    """-E[D(fake)] + lambda * pseudo-Huber(x0_hat, x0) (Eq. 10, 11).

    `weights` (b,) weigh clips in the adversarial term, `reconstruction` (b,) is lambda per clip.
    """
    judged = adversarial(D.logits(seen.fake, draw.sigma_d, cond), weights)
    distance = pseudo_huber(seen.x0_hat, x0, c)
    loss = judged + (reconstruction * distance).mean()
    return loss, {"g_adv": float(judged.detach()), "huber": float(distance.detach().mean())}


def mean_logit(logits: list[Tensor]) -> float:
    """Average over heads and positions."""
    return float(torch.stack([v.detach().mean() for v in logits]).mean())


def accuracy(real: list[Tensor], fake: list[Tensor]) -> float:
    """Share of positions on the right side of zero, over heads, real and fake evenly."""
    right = [((r > 0).float().mean() + (f < 0).float().mean()) / 2 for r, f in zip(real, fake, strict=True)]
    return float(torch.stack(right).mean())
