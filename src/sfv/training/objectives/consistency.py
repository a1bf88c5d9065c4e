"""Consistency distillation of a teacher (2303.01469, Alg. 2), as AnimateLCM does it for SVD (2402.00769).

The student's answer at one noise level must be its own (slow) answer one teacher step further down. No discriminator;
sampled in one call, or in a few with `--sampler consistency`.
"""

import copy
from contextlib import AbstractContextManager
from pathlib import Path

import torch
from torch import Tensor

from sfv.adversary.losses import pseudo_huber
from sfv.edm.denoiser import Denoiser, per_clip
from sfv.edm.noise import NoiseRange, add_noise, karras_grid
from sfv.edm.sampling import guided
from sfv.system.device import bf16_autocast
from sfv.training.batches import ClipSampler, frame_difference
from sfv.training.config import ConsistencyTraining
from sfv.training.ema import EMA
from sfv.training.logs import Logs
from sfv.training.loop import run
from sfv.training.objectives.generator_task import GeneratorTask
from sfv.training.objectives.learner import spare
from sfv.training.parallel import ALONE, World, place
from sfv.training.seeds import Rngs
from sfv.types import Cond, Latents, Sigma


@torch.no_grad()
def step_down(
    teacher: Denoiser, x: Latents, high: Sigma, low: Sigma, cond: Cond, uncond: Cond, scale: Tensor
) -> Latents:
    """One Euler step of the guided teacher from `high` to `low`, levels per clip; `scale` (b, f) is the guidance."""
    ends = []
    for i, of_frames in enumerate(scale):
        one, without = ({k: v[i : i + 1] for k, v in c.items()} for c in (cond, uncond))
        ends.append(guided(teacher, x[i : i + 1], high[i : i + 1], one, without, of_frames))
    x0_hat = torch.cat(ends)
    return x0_hat + per_clip(low / high) * (x - x0_hat)


class ConsistencyTask(GeneratorTask):
    """One optimiser; the target network is a slow copy of the student that is never trained."""

    def __init__(
        self,
        teacher: Denoiser,
        batches: ClipSampler,
        config: ConsistencyTraining,
        noise: NoiseRange,
        world: World = ALONE,
        start: Denoiser | None = None,
    ) -> None:
        super().__init__(config, world)
        self.teacher, self.config = teacher.requires_grad_(False), config
        self.batches = batches.limited(config.motion_id, config.motion_most)
        self.G = copy.deepcopy(start or teacher).train().requires_grad_(True)
        if config.recompute:
            self.G.recompute()
        for network in (self.G, teacher):
            place(network, world, batches.device)
        low, high, rho = noise
        self.grid = karras_grid(low, high, config.levels, rho).float()
        self.learns(self.G, self.G.learnable(), config.lr, config.ema, 0.999)
        self.averages["target"] = EMA(self.G, config.target_ema, config.average == "host")

    def _backward(self, rngs: Rngs) -> Logs:
        config = self.config
        x0, cond = self.batches.draw(rngs)
        at = (rngs.uniform() * (config.levels - 1)).long().clamp(max=config.levels - 2)
        low, high = (self.grid[at + i].to(x0.device) for i in (0, 1))
        guidance = config.guidance[0] + rngs.uniform() * (config.guidance[1] - config.guidance[0])
        x = add_noise(x0, high, rngs.normal(*x0.shape[1:]).to(x0.device))
        conditioner = self.batches.conditioner
        uncond = conditioner.unconditional(cond)
        of_frames = [conditioner.guidance_over_frames(g, x0.shape[1]) for g in guidance.tolist()]
        scale = torch.stack(of_frames).to(x0.device)
        with self._autocast(x0), torch.no_grad(), self.averages["target"].applied():
            goal = self.G(step_down(self.teacher, x, high, low, cond, uncond, scale), low, cond)
        with self._autocast(x0):  # a context of its own: autocast remembers weights it has cast
            x0_hat = self.G(x, high, cond)
        loss = pseudo_huber(x0_hat, goal, config.huber_c).mean()
        (loss / config.accumulate).backward()
        generated, true = (torch.stack([frame_difference(c) for c in v]).mean() for v in (x0_hat.detach(), x0))
        return {"loss": float(loss.detach()), "motion": float(generated / true)}

    def _autocast(self, x: Tensor) -> AbstractContextManager[None]:
        return bf16_autocast(x.device, self.config.precision == "bf16")


def train_consistency(
    teacher: Denoiser,
    batches: ClipSampler,
    config: ConsistencyTraining,
    noise: NoiseRange,
    run_dir: Path,
    world: World = ALONE,
    start: Denoiser | None = None,
) -> Denoiser:
    """Train (or resume) a copy of `start` (the teacher if not given); returns its average, blended with its start."""
    blank, home = spare(start or teacher), next(teacher.parameters()).device
    task = ConsistencyTask(teacher, batches, config, noise, world, start)
    kept = config.model_dump(exclude={"blend"})
    run(task, config, run_dir, {"task": "consistency", "sigmas": noise, **kept}, world)
    task.averages["generator"].into(blank, config.blend)
    return blank.to(home).eval()
