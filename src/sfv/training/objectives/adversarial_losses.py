"""SF-V's algorithm (2406.04324, Sec. 3) on one page.

G: x0_hat = G(x0 + sigma n; sigma, cond), sigma from a few levels of which the last is where inference starts.
D sees x0 + sigma' n' and x0_hat + sigma' n', sigma' from a discretised log-normal law (Eq. 7), through the frozen
encoder; only its heads learn. Real and fake share sigma' and n', and one frozen pass serves both losses: the heads
learn on detached features, then G is judged by the heads, as they are after that where a step has one batch, and as
they were before where it has several (adversarial.StudentTask.step).
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from sfv.adversary.discriminator import Discriminator
from sfv.adversary.losses import LOSSES, feature_matching, pseudo_huber, r1, smoothness, stillness
from sfv.edm.denoiser import Denoiser
from sfv.edm.noise import NoiseRange, add_noise
from sfv.edm.sampling import euler, karras_sigmas
from sfv.training.config import StudentTraining
from sfv.training.logs import Logs
from sfv.types import Cond, Features, Latents, Sigma


@dataclass(frozen=True)
class NoiseDraw:
    """Everything random in one step; the step itself is a function of its arguments."""

    sigma: Sigma
    """What G starts from."""
    n: Latents
    sigma_d: Sigma
    """What D sees."""
    n_d: Latents
    n_near: Latents
    """Perturbs D's input for the smoothness penalty."""
    closeness: Tensor | None = None
    """Factor of the reconstruction for each clip, by its sigma."""


@dataclass(frozen=True)
class CriticFeatures:
    """One G forward and one frozen pass over fake and real; `near` holds features of perturbed inputs if asked."""

    x0_hat: Latents
    fake: list[Features]
    """Carry G's gradient."""
    real: list[Features]
    near: tuple[list[Features], list[Features]] | None = None
    """Real, fake."""


def judge(
    G: Denoiser, D: Discriminator, x0: Latents, cond: Cond, draw: NoiseDraw, perturbation: float = 0.0
) -> CriticFeatures:
    """Generate, noise both alike, and take the backbone's features."""
    x0_hat = G(add_noise(x0, draw.sigma, draw.n), draw.sigma, cond)
    return look_at(D, x0, x0_hat, cond, draw, perturbation)


def look_at(
    D: Discriminator, x0: Latents, x0_hat: Latents, cond: Cond, draw: NoiseDraw, perturbation: float = 0.0
) -> CriticFeatures:
    """Noise real and fake alike, and take the backbone's features; the real ones' without gradient."""
    shown = [add_noise(x, draw.sigma_d, draw.n_d) for x in (x0, x0_hat)]
    fake = D.features(shown[1], draw.sigma_d, cond, x0_hat)
    with torch.set_grad_enabled(D.learns and torch.is_grad_enabled()):
        real = D.features(shown[0], draw.sigma_d, cond, x0)
    if perturbation == 0:
        return CriticFeatures(x0_hat, fake, real)
    with torch.no_grad():
        by = perturbation * draw.n_near
        pairs = zip(shown, (x0, x0_hat), strict=True)
        moved = [D.features(x + by, draw.sigma_d, cond, clean + by) for x, clean in pairs]
    return CriticFeatures(x0_hat, fake, real, (moved[0], moved[1]))


def discriminator_loss(
    D: Discriminator, seen: CriticFeatures, cond: Cond, draw: NoiseDraw, config: StudentTraining
) -> tuple[Tensor, Logs]:
    """The adversarial loss of D + gamma * R1 (Eq. 11, usual sign), or the smoothness penalty in R1's place."""
    real_in = seen.real if D.learns else [h.detach().requires_grad_(config.gamma > 0) for h in seen.real]
    real = D.logits(real_in, draw.sigma_d, cond)
    fake = D.logits(seen.fake if D.learns else [h.detach() for h in seen.fake], draw.sigma_d, cond)
    penalty = real[0].new_zeros(())
    if config.gamma > 0:
        penalty = config.gamma * r1(real, real_in)
    if seen.near is not None:
        near = [D.logits(features, draw.sigma_d, cond) for features in seen.near]
        penalty = penalty + config.smoothness * (smoothness(real, near[0]) + smoothness(fake, near[1]))
    loss = LOSSES[config.loss].discriminator(real, fake)
    logs = {
        "d_loss": float(loss.detach()),
        "d_real": mean_logit(real),
        "d_fake": mean_logit(fake),
        "d_accuracy": accuracy(real, fake),
        "d_ranked": ranked(real, fake),
        "d_penalty": float(penalty.detach()),
    }
    logs |= accuracy_of_heads(D, real, fake) | accuracy_by_sigma(real, fake, draw.sigma_d)
    return loss + penalty, logs


def generator_losses(
    D: Discriminator, seen: CriticFeatures, x0: Latents, cond: Cond, draw: NoiseDraw, config: StudentTraining
) -> tuple[Tensor, Tensor, Logs]:
    """What D thinks of it (Eq. 8, + feature matching if asked), and lambda * pseudo-Huber to `x0` (Eq. 9).

    G lowers their sum (Eq. 10). `x0` is the real clip, or what a teacher makes of the same noise.
    """
    terms = generator_terms(D, seen, x0, cond, draw, config)
    judged = config.adversarial * terms["g_adv"]
    judged = judged + config.feature_matching * terms["features"] + config.motion_floor * terms["stillness"]
    return judged, config.reconstruction * terms["huber"], {k: float(v.detach()) for k, v in terms.items()}


def generator_terms(
    D: Discriminator, seen: CriticFeatures, x0: Latents, cond: Cond, draw: NoiseDraw, config: StudentTraining
) -> dict[str, Tensor]:
    """What the generator's loss is made of, unweighted."""
    with torch.no_grad():
        real = D.logits(seen.real, draw.sigma_d, cond)
    judged = LOSSES[config.loss].generator(D.logits(seen.fake, draw.sigma_d, cond), real, None)
    distance = pseudo_huber(seen.x0_hat, x0, config.huber_c, config.huber)
    distance = distance if draw.closeness is None else distance * draw.closeness
    return {
        "g_adv": judged,
        "huber": distance.mean(),
        "features": feature_matching(seen.fake, seen.real).mean(),
        "stillness": stillness(seen.x0_hat, x0).mean(),
    }


@torch.no_grad()
def endpoint(
    teacher: Denoiser,
    x: Latents,
    sigma: Sigma,
    cond: Cond,
    uncond: Cond | None,
    scale: Tensor,
    noise: NoiseRange,
    steps: int,
) -> Latents:
    """Where `steps` Euler steps of the teacher take each noised clip x (regression target of DMD, 2311.18828, Eq. 9).

    `scale` (f,) is the guidance of each frame, used where there is an `uncond`.
    """
    low, _, rho = noise
    ends = []
    for i, level in enumerate(sigma.tolist()):
        one, without = ({k: v[i : i + 1] for k, v in c.items()} if c else None for c in (cond, uncond))
        sigmas = karras_sigmas(steps, low, level, rho)
        assert one is not None
        ends.append(euler(teacher, x[i : i + 1], sigmas, one, without, scale))
    return torch.cat(ends)


def mean_logit(logits: list[Tensor]) -> float:
    """Average over heads and positions."""
    return float(torch.stack([v.detach().mean() for v in logits]).mean())


def accuracy(real: list[Tensor], fake: list[Tensor]) -> float:
    """Share of positions on the right side of zero, over heads, real and fake evenly."""
    right = [((r > 0).float().mean() + (f < 0).float().mean()) / 2 for r, f in zip(real, fake, strict=True)]
    return float(torch.stack(right).mean())


def ranked(real: list[Tensor], fake: list[Tensor]) -> float:
    """Share of positions where the real clip's logit is above its pair's, over heads: 0.5 is a guess."""
    return float(torch.stack([(r > f).float().mean() for r, f in zip(real, fake, strict=True)]).mean())


def accuracy_of_heads(D: Discriminator, real: list[Tensor], fake: list[Tensor]) -> Logs:
    """Accuracy of every head by its name."""
    return {f"head_{n}": accuracy([r], [f]) for n, r, f in zip(D.heads, real, fake, strict=True)}


def accuracy_by_sigma(real: list[Tensor], fake: list[Tensor], sigma: Sigma) -> Logs:
    """Sums for the accuracy at each noise level: right_* clips' accuracy, seen_* clips."""
    logs: Logs = {}
    right = [((r > 0).float().mean(1) + (f < 0).float().mean(1)) / 2 for r, f in zip(real, fake, strict=True)]
    each = torch.stack(right).mean(0).tolist()
    for name, low, high in (("low", 0.0, 0.25), ("mid", 0.25, 0.6), ("high", 0.6, float("inf"))):
        inside = [a for a, s in zip(each, sigma.tolist(), strict=True) if low <= s < high]
        logs |= {f"right_sigma_{name}": float(sum(inside)), f"seen_sigma_{name}": float(len(inside))}
    return logs
