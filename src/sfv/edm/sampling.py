"""Samplers over D: Euler with guidance that may differ per frame, and the consistency sampler."""

from collections.abc import Callable

import torch
from torch import Tensor

from sfv.edm.denoiser import Denoiser
from sfv.edm.noise import add_noise, karras_grid
from sfv.types import Cond, Latents


def karras_sigmas(steps: int, sigma_min: float, sigma_max: float, rho: float = 7.0) -> Tensor:
    """Descending noise levels and a final 0, float32, (steps + 1,); one step is [sigma_max, 0]."""
    if steps == 1:
        return torch.tensor([sigma_max, 0.0])
    levels = karras_grid(sigma_min, sigma_max, steps, rho).flip(0)
    return torch.cat([levels, levels.new_zeros(1)]).float()


ALL_NOISE = 1e6
"""Stands for t = 1, where sigma has no end: the same to seven digits, and within float32's reach."""


def flow_sigmas(steps: int, shift: float) -> Tensor:
    """Noise levels of a flow's steps and a final 0, float32, (steps + 1,): sigma = t / (1 - t).

    Times t fall evenly from 1 and are then moved towards noise, t -> shift t / (1 + (shift - 1) t) (SD3, 2403.03206,
    Eq. 23). The last is the least of the thousand that training knows, moved twice, as in diffusers'
    FlowMatchEulerDiscreteScheduler.
    """

    def shifted(t: Tensor) -> Tensor:
        return shift * t / (1 + (shift - 1) * t)

    least = float(shifted(torch.tensor(0.001, dtype=torch.float64)))
    t = shifted(torch.linspace(1, least, steps, dtype=torch.float64))
    sigmas = (t / (1 - t)).clamp(max=ALL_NOISE)
    return torch.cat([sigmas, sigmas.new_zeros(1)]).float()


GRID = 40
"""Levels of the grid that consistency models of SVD are distilled on (AnimateLCM 2402.00769, its scheduler)."""


def consistency_sigmas(steps: int, sigma_min: float, sigma_max: float, rho: float = 7.0) -> Tensor:
    """Levels from which a consistency model is called, descending, and a final 0, float32, (steps + 1,).

    Every (GRID // steps)-th of Karras's grid from sigma_max down, as AnimateLCM's scheduler takes them; unlike Euler's
    they leave out sigma_min, where a call changes nothing. One step is [sigma_max, 0].
    """
    if steps > GRID:
        raise ValueError(f"a consistency model has {GRID} levels, not {steps}")
    levels = karras_grid(sigma_min, sigma_max, GRID, rho).flip(0)[:: GRID // steps][:steps]
    return torch.cat([levels, levels.new_zeros(1)]).float()


def guided(D: Denoiser, x: Latents, sigma: Tensor, cond: Cond, uncond: Cond, scale: Tensor) -> Latents:
    """Classifier-free guidance on x0_hat, scale (f,) per frame, both passes in one batch of 2b."""
    both = {k: torch.cat([uncond[k], cond[k]]) for k in cond}
    without, with_ = D(torch.cat([x, x]), torch.cat([sigma, sigma]), both).chunk(2)
    return without + scale[:, None, None, None] * (with_ - without)


def euler(
    D: Denoiser,
    x: Latents,
    sigmas: Tensor,
    cond: Cond,
    uncond: Cond | None = None,
    scale: Tensor | None = None,
    watch: Callable[[int, Latents], None] | None = None,
) -> Latents:
    """Integrate dx/dsigma = (x - x0_hat) / sigma along descending `sigmas` (EDM Alg. 1, Euler, no churn).

    x: (b, f, c, h, w) at noise level sigmas[0]. With `uncond` and per-frame `scale` (f,), guided.
    `watch(step, x0_hat)` is called after each network call.
    """
    for i, (sigma, following) in enumerate(zip(sigmas[:-1], sigmas[1:], strict=True)):
        level = sigma.to(x.device).expand(len(x))
        if uncond is None or scale is None:
            x0_hat = D(x, level, cond)
        else:
            x0_hat = guided(D, x, level, cond, uncond, scale)
        if watch:
            watch(i, x0_hat)
        x = x0_hat if following == 0 else x0_hat + (following / sigma).to(x.device) * (x - x0_hat)
    return x


def consistency(
    D: Denoiser,
    x: Latents,
    sigmas: Tensor,
    cond: Cond,
    noise: Callable[[int], Latents],
    watch: Callable[[int, Latents], None] | None = None,
    uncond: Cond | None = None,
    scale: Tensor | None = None,
) -> Latents:
    """Denoise whole, noise again to the next level, denoise again (Consistency Models, 2303.01469, Alg. 1).

    x: (b, f, c, h, w) at noise level sigmas[0]; `sigmas` descend and end with 0; `noise(i)` is unit noise for call i.
    One level is one call of D, as with Euler. With `uncond` and per-frame `scale` (f,), guided.
    """
    for i, sigma in enumerate(sigmas[:-1].tolist()):
        x = x if i == 0 else add_noise(x, x.new_full((len(x),), sigma), noise(i))
        level = x.new_full((len(x),), sigma)
        x = D(x, level, cond) if uncond is None or scale is None else guided(D, x, level, cond, uncond, scale)
        if watch:
            watch(i, x)
    return x
