"""The one-step student: SF-V's adversarial fine-tuning of a teacher (2406.04324)."""

import copy
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.optim import Adam, Optimizer

from sfv.adversary.discriminator import Discriminator
from sfv.edm.denoiser import Denoiser
from sfv.edm.noise import discrete, discretised_log_normal, karras_grid
from sfv.training.batches import Draws, frame_difference
from sfv.training.config import StudentTraining
from sfv.training.ema import EMA
from sfv.training.loop import Logs, run
from sfv.training.optimizers import Muon
from sfv.training.step import Draw, Judged, discriminator_loss, generator_loss, judge
from sfv.types import Cond, Latents


class StudentTask:
    """Two optimisers: the generator's and the heads'."""

    def __init__(
        self, teacher: Denoiser, batches: Draws, config: StudentTraining, sigmas: tuple[float, float, float]
    ) -> None:
        self.config, self.batches = config, batches
        self.G = copy.deepcopy(teacher).train().requires_grad_(True)
        embed = batches.draw(1, torch.Generator().manual_seed(0))[1]["image_embeds"].shape[-1]
        torch.manual_seed(config.seed)
        self.D = Discriminator(teacher, embed, config.head_width).to(batches.device)
        low, high, rho = sigmas
        self.g_levels = karras_grid(low, high, config.levels, rho)[1:]
        self.d_grid = karras_grid(low, high, 1000, rho)
        self.d_law = discretised_log_normal(self.d_grid, config.p_mean, config.p_std)
        self.modules: dict[str, nn.Module] = {"generator": self.G, "heads": self.D.heads}
        self.optimizers: dict[str, Optimizer] = {
            "generator": Adam(self.G.learnable(), lr=config.lr, betas=(0.5, 0.99)),
            "heads": Muon(self.D.heads.parameters(), lr=config.lr_heads, momentum=0.9),
        }
        self.averages = {"generator": EMA(self.G, config.ema)}

    def draw(self, x0: Tensor, rng: torch.Generator) -> Draw:
        """Noise levels and noise of one step."""
        b = len(x0)
        sigma = discrete(self.g_levels, torch.tensor(self.config.level_weights), b, rng)
        sigma_d = discrete(self.d_grid[1:], self.d_law, b, rng)
        n, n_d, n_near = torch.randn(3, *x0.shape, generator=rng)
        return Draw(*(v.to(x0.device) for v in (sigma, n, sigma_d, n_d, n_near)))

    def step(self, step: int, rng: torch.Generator) -> Logs:
        """Heads first, then the generator (after the heads' head start)."""
        ahead = step < self.config.head_start
        for _ in range(self.config.head_updates - 1):
            self._heads(*self._seen(rng, learn=False))
        seen, x0, cond, draw = self._seen(rng, learn=not ahead)
        logs = self._heads(seen, x0, cond, draw)
        made = torch.stack([frame_difference(v) for v in seen.x0_hat.detach()]).mean()
        true = torch.stack([frame_difference(v) for v in x0]).mean()
        return logs | {"motion": float(made / true)} | self._generator(seen, x0, cond, draw, ahead)

    def _seen(self, rng: torch.Generator, learn: bool) -> tuple[Judged, Latents, Cond, Draw]:
        """A fresh batch, generated and seen by the backbone; with the generator's gradient if it is to learn."""
        x0, cond = self.batches.draw(self.config.clips, rng)
        draw = self.draw(x0, rng)
        with torch.autocast(x0.device.type, torch.bfloat16), torch.set_grad_enabled(learn):
            near = self.config.perturbation if self.config.smoothness else 0.0
            return judge(self.G, self.D, x0, cond, draw, near), x0, cond, draw

    def _heads(self, seen: Judged, x0: Latents, cond: Cond, draw: Draw) -> Logs:
        loss, logs = discriminator_loss(self.D, seen, cond, draw, self.config)
        self._update("heads", loss)
        return logs

    def _generator(self, seen: Judged, x0: Latents, cond: Cond, draw: Draw, ahead: bool) -> Logs:
        with torch.set_grad_enabled(not ahead):
            loss, logs = generator_loss(self.D, seen, x0, cond, draw, self.config)
        return logs | {"g_norm": 0.0 if ahead else self._update("generator", loss)}

    def _update(self, name: str, loss: Tensor) -> float:
        """Backward into one network alone, clip, step; returns the gradient's norm."""
        params = [p for g in self.optimizers[name].param_groups for p in g["params"]]
        grads = torch.autograd.grad(loss, params, allow_unused=True)
        for p, g in zip(params, grads, strict=True):
            p.grad = g
        norm = nn.utils.clip_grad_norm_(params, 1.0)
        self.optimizers[name].step()
        self.optimizers[name].zero_grad(set_to_none=True)
        return float(norm)


def train_student(
    teacher: Denoiser,
    batches: Draws,
    config: StudentTraining,
    sigmas: tuple[float, float, float],
    run_dir: Path,
) -> Denoiser:
    """Train (or resume) a copy of `teacher` and return the averaged one-step student.

    `sigmas` = (sigma_min, sigma_max, rho) of the model's noise law.
    """
    task = StudentTask(teacher, batches, config, sigmas)
    run(task, config, run_dir, {"task": "student", "sigmas": sigmas, **config.model_dump()})
    average = task.averages["generator"].average
    assert isinstance(average, Denoiser)
    return average
