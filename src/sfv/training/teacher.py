"""The teacher: SVD's own objective, EDM denoising with the picture as condition (2311.15127, app. D; 2206.00364)."""

import math
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from sfv.edm.denoiser import Denoiser
from sfv.edm.noise import add_noise, log_normal
from sfv.training.batches import Draws
from sfv.training.config import TeacherTraining
from sfv.training.ema import EMA
from sfv.training.loop import Logs, run
from sfv.training.optimizers import Muon
from sfv.types import Cond, Latents, Sigma


def denoising_loss(D: Denoiser, x0: Latents, cond: Cond, sigma: Sigma, n: Latents, max_weight: float) -> Tensor:
    """Per-clip weighted squared error, (b,): (1 + s^2) / s^2 * |D(x0 + s n) - x0|^2 (EDM Eq. 2, sigma_data = 1)."""
    weight = ((1 + sigma**2) / sigma**2).clamp(max=max_weight)
    error = D(add_noise(x0, sigma, n), sigma, cond) - x0
    return weight * (error**2).mean((1, 2, 3, 4))


class TeacherTask:
    """One optimiser over the whole denoiser."""

    def __init__(self, D: Denoiser, batches: Draws, config: TeacherTraining, sigmas: tuple[float, float]) -> None:
        self.D, self.batches, self.config, self.sigmas = D.train(), batches, config, sigmas
        muon = Muon(D.learnable(), config.lr)
        self.modules: dict[str, nn.Module] = {"denoiser": D}
        self.optimizers: dict[str, Optimizer] = {"denoiser": muon}
        self.averages = {"denoiser": EMA(D, config.ema)}

    def levels(self, b: int, rng: torch.Generator) -> Sigma:
        """SVD's log-normal, and a small share spread evenly, so that the first sampling step is trained too."""
        low, high = (math.log(s) for s in self.sigmas)
        wide = (low + (high - low) * torch.rand(b, generator=rng)).exp()
        pick = torch.rand(b, generator=rng) < self.config.wide
        return torch.where(pick, wide, log_normal(b, self.config.p_mean, self.config.p_std, rng))

    def step(self, step: int, rng: torch.Generator) -> Logs:
        """One update."""
        x0, cond = self.batches.draw(self.config.clips, rng, drop=self.config.drop)
        sigma = self.levels(len(x0), rng).to(x0.device)
        n = torch.randn(x0.shape, generator=rng).to(x0.device)
        with torch.autocast(x0.device.type, torch.bfloat16):
            each = denoising_loss(self.D, x0, cond, sigma, n, self.config.max_weight)
        each.mean().backward()
        norm = nn.utils.clip_grad_norm_(self.D.parameters(), 1.0)
        self.optimizers["denoiser"].step()
        self.optimizers["denoiser"].zero_grad(set_to_none=True)
        unweighted = each.detach() * sigma**2 / (1 + sigma**2)
        high = float((unweighted * (sigma > 5)).sum() / max(1, int((sigma > 5).sum())))
        return {"loss": float(each.detach().mean()), "error_high": high, "grad_norm": float(norm)}


def train_teacher(
    D: Denoiser, batches: Draws, config: TeacherTraining, sigmas: tuple[float, float], run_dir: Path
) -> Denoiser:
    """Train (or resume) and return the averaged denoiser."""
    task = TeacherTask(D, batches, config, sigmas)
    run(task, config, run_dir, {"task": "teacher", "sigmas": sigmas, **config.model_dump()})
    average = task.averages["denoiser"].average
    assert isinstance(average, Denoiser)
    return average
