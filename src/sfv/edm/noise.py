"""Noise levels and seeded noise; x = x0 + sigma * n."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from sfv.edm.denoiser import per_clip
from sfv.types import Latents, Sigma


class NoiseRange(NamedTuple):
    """A model's noise levels: lowest, highest, and rho, by which Karras's grid lies between (EDM Eq. 5)."""

    sigma_min: float
    sigma_max: float
    rho: float = 7.0


def initial_noise(n: Tensor, sigma_max: float | Tensor) -> Tensor:
    """Where a sampler starts: n sqrt(sigma_max^2 + 1), as diffusers' Euler scheduler does (init_noise_sigma)."""
    return n * float((torch.as_tensor(sigma_max) ** 2 + 1).sqrt())


def seeded_noise(seeds: list[int], shape: tuple[int, ...], device: torch.device | str = "cpu") -> Tensor:
    """Unit Gaussian noise, one CPU generator per clip, so a clip never depends on its batch; (len, *shape)."""
    clips = [torch.randn(shape, generator=torch.Generator().manual_seed(s)) for s in seeds]
    return torch.stack(clips).to(device)


def add_noise(x0: Latents, sigma: Sigma, n: Latents) -> Latents:
    """x = x0 + sigma * n (EDM Eq. 1 in x-space)."""
    return x0 + per_clip(sigma) * n


def karras_grid(sigma_min: float, sigma_max: float, count: int, rho: float = 7.0) -> Tensor:
    """`count` noise levels from sigma_min up to sigma_max, float64 (EDM Eq. 5, ascending; SF-V Eq. 5)."""
    t = torch.linspace(0, 1, count, dtype=torch.float64)
    low, high = sigma_min ** (1 / rho), sigma_max ** (1 / rho)
    return (low + t * (high - low)) ** rho


def log_normal(z: Tensor, p_mean: float, p_std: float) -> Sigma:
    """ln sigma ~ N(p_mean, p_std^2) from unit Gaussian z (b,): the EDM / SVD training law."""
    return (p_mean + p_std * z).exp()


def discrete(levels: Tensor, weights: Tensor, u: Tensor) -> Sigma:
    """Pick one of the levels for each u (b,) in [0, 1), with the given (unnormalised) weights."""
    ends = (weights.double() / weights.double().sum()).cumsum(0)
    return levels.float()[torch.searchsorted(ends, u.double(), right=True).clamp(max=len(levels) - 1)]


def discretised_log_normal(grid: Tensor, p_mean: float, p_std: float) -> Tensor:
    """Probability of each level grid[1:], the log-normal mass between neighbours (SF-V Eq. 7).

    The paper writes (P_mean, P_std) = (-1, -1); only |P_std| matters, because erf is odd and the weights are
    normalised. float64, because the tails underflow.
    """
    z = (grid.double().log() - p_mean) / abs(p_std)
    mass = torch.diff(0.5 * (1 + torch.erf(z / math.sqrt(2))))
    return mass / mass.sum()
