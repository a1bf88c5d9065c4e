"""The teacher: SVD's own objective, EDM denoising with the picture as condition (2311.15127, app. D; 2206.00364)."""

import math
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from sfv.edm.denoiser import Denoiser
from sfv.edm.noise import add_noise, log_normal
from sfv.system.device import bf16_autocast
from sfv.training.batches import ClipSampler
from sfv.training.config import TeacherTraining
from sfv.training.ema import EMA
from sfv.training.health import CONDITION_RULES
from sfv.training.logs import Logs
from sfv.training.loop import run
from sfv.training.objectives.learner import spare
from sfv.training.optimizers import Muon
from sfv.training.parallel import ALONE, World, mean_of, place, share_gradients, update
from sfv.training.seeds import Rngs, Seeds
from sfv.types import Cond, Latents, Sigma


def denoising_loss(D: Denoiser, x0: Latents, cond: Cond, sigma: Sigma, n: Latents, max_weight: float) -> Tensor:
    """Per-clip weighted squared error, (b,): (1 + s^2) / s^2 * |D(x0 + s n) - x0|^2 (EDM Eq. 2, sigma_data = 1)."""
    weight = ((1 + sigma**2) / sigma**2).clamp(max=max_weight)
    error = D(add_noise(x0, sigma, n), sigma, cond) - x0
    return weight * (error**2).mean((1, 2, 3, 4))


class TeacherTask:
    """One optimiser over the whole denoiser."""

    def __init__(
        self,
        D: Denoiser,
        batches: ClipSampler,
        config: TeacherTraining,
        sigmas: tuple[float, float],
        world: World = ALONE,
    ) -> None:
        self.D, self.config, self.sigmas, self.world = D.train(), config, sigmas, world
        self.batches = batches.limited(config.motion_id, config.motion_most)
        place(D, world, batches.device)
        self.modules: dict[str, nn.Module] = {"denoiser": D}
        self.params = D.learnable()
        if batches.learns is not None:
            self.modules["tower"] = batches.learns.train().requires_grad_(True)
            self.params = [*self.params, *batches.learns.parameters()]
        self.optimizers: dict[str, Optimizer] = {"denoiser": Muon(self.params, config.lr)}
        self.averages = {k: EMA(m, config.ema, config.average == "host") for k, m in self.modules.items()}
        self.rules, self.quiet_until = CONDITION_RULES, 2 * config.log_every

    def levels(self, rngs: Rngs) -> Sigma:
        """SVD's log-normal, and a small share spread evenly, so that the first sampling step is trained too."""
        low, high = (math.log(s) for s in self.sigmas)
        wide = (low + (high - low) * rngs.uniform()).exp()
        pick = rngs.uniform() < self.config.wide
        return torch.where(pick, wide, log_normal(rngs.normal(), self.config.p_mean, self.config.p_std))

    def step(self, step: int, seeds: Seeds) -> Logs:
        """One update over `accumulate` batches."""
        parts = self.config.accumulate
        logs = []
        for i in range(parts):
            share_gradients(self.modules.values(), i == parts - 1 or not self.config.no_sync)
            logs.append(self._backward(seeds.clips(self.config.clips, i, parts)))
        norm = update(self.params, self.optimizers["denoiser"], self.world, self.config.clip)
        return mean_of(logs) | {"grad_norm": norm}

    def _backward(self, rngs: Rngs) -> Logs:
        x0, cond = self.batches.draw(rngs, drop=self.config.drop)
        sigma = self.levels(rngs).to(x0.device)
        n = rngs.normal(*x0.shape[1:]).to(x0.device)
        with bf16_autocast(x0.device, self.config.precision == "bf16"):
            each = denoising_loss(self.D, x0, cond, sigma, n, self.config.max_weight)
        (each.mean() / self.config.accumulate).backward()
        unweighted = each.detach() * sigma**2 / (1 + sigma**2)
        high = float((unweighted * (sigma > 5)).sum() / max(1, int((sigma > 5).sum())))
        spread = self.batches.picture_spread
        shown = {} if spread is None else {"picture_spread": spread}
        return {"loss": float(each.detach().mean()), "error_high": high, **shown}


def train_teacher(
    D: Denoiser,
    batches: ClipSampler,
    config: TeacherTraining,
    sigmas: tuple[float, float],
    run_dir: Path,
    world: World = ALONE,
) -> Denoiser:
    """Train (or resume) `D` and return it with its averaged weights, and so the conditioner's network, if it learns."""
    home = next(D.parameters()).device
    blank = spare(D) if world.size > 1 else D
    task = TeacherTask(D, batches, config, sigmas, world)
    run(task, config, run_dir, {"task": "teacher", "sigmas": sigmas, **config.model_dump()}, world)
    task.averages["denoiser"].into(blank)
    if batches.learns is not None:
        task.averages["tower"].into(batches.learns)
    return blank.to(home).eval()
