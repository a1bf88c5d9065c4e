"""Distribution matching distillation (DMD, 2311.18828): the student's clips should lie where the teacher's lie.

Two denoisers look at the student's noised clip: the teacher, and a copy of it that keeps learning to denoise what the
student makes. Where their answers differ, the teacher finds other clips likelier: that difference moves the student
(the gradient of an approximate KL divergence). The copy has several updates to each of its (DMD2, 2405.14867).
With `pairs` the student also learns the teacher's endpoints from the same noise (DMD, Eq. 9). Without: DMD2 less its
discriminator. The student is shown no real clip; its conditions are real ones.
"""

import copy
from contextlib import AbstractContextManager
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.optim import Adam, Optimizer

from sfv.edm.denoiser import Denoiser, per_clip
from sfv.edm.noise import NoiseRange, add_noise, log_normal
from sfv.edm.sampling import guided
from sfv.system.device import bf16_autocast
from sfv.training.batches import ClipSampler, frame_difference
from sfv.training.config import DistributionTraining
from sfv.training.ema import EMA
from sfv.training.health import Rule
from sfv.training.logs import Logs
from sfv.training.loop import run
from sfv.training.objectives.denoising import denoising_loss
from sfv.training.objectives.endpoints import Endpoints
from sfv.training.objectives.learner import spare
from sfv.training.parallel import ALONE, World, mean_of, place, split_groups, update
from sfv.training.seeds import Rngs, Seeds
from sfv.types import Cond, Latents, Sigma

FOLLOWED = 40
"""Steps before the matching begins in which the copy learns to follow."""


def matching_gradient(generated: Latents, teachers: Latents, fakes: Latents) -> Latents:
    """Where `generated` should move from: (fake's x0_hat - teacher's x0_hat), each clip over the mean absolute distance
    of `generated` to the teacher's (DMD's weight, for x0_hat)."""
    far = (generated - teachers).abs().mean((1, 2, 3, 4)).clamp(min=1e-3)
    return per_clip(1 / far) * (fakes - teachers)


class DistributionTask:
    """Two optimisers: the student, and the copy of the teacher that follows the student's clips."""

    rules: tuple[Rule, ...] = ()
    quiet_until = 0

    def __init__(
        self,
        teacher: Denoiser,
        batches: ClipSampler,
        config: DistributionTraining,
        noise: NoiseRange,
        world: World = ALONE,
        endpoints: Endpoints | None = None,
        start: Denoiser | None = None,
    ) -> None:
        self.endpoints = endpoints
        self.teacher = teacher.eval().requires_grad_(False)
        self.config, self.world = config, world
        self.batches = batches.limited(config.motion_id, config.motion_most)
        self.low, self.high = noise[:2]
        self.G, self.fake = (copy.deepcopy(n).train().requires_grad_(True) for n in (start or teacher, teacher))
        for network in (self.G, self.fake, teacher):
            place(network, world, batches.device)
        self.params = {"generator": self.G.learnable(), "fake": self.fake.learnable()}
        rates = {"generator": config.lr, "fake": config.lr_fake}
        self.modules: dict[str, nn.Module] = {"generator": self.G, "fake": self.fake}
        self.optimizers: dict[str, Optimizer] = {
            k: Adam(split_groups(self.params[k]), rates[k], (0.0, 0.999)) for k in rates
        }
        self.averages = {"generator": EMA(self.G, config.ema, config.average == "host")}

    def step(self, step: int, seeds: Seeds) -> Logs:
        """One update of the student over `accumulate` batches, and `fake_updates` of what follows it."""
        parts, config = self.config.accumulate, self.config
        matched = step >= config.head_start
        drawn = [self._generated(seeds.clips(config.clips, i, parts), matched) for i in range(parts)]
        logs = {}
        if matched or self.endpoints is not None:
            logs["g_norm"] = update(self.params["generator"], self.optimizers["generator"], self.world, config.clip)
        for _ in range(config.fake_updates if step >= config.head_start - FOLLOWED else 0):
            fake = [self._follow(generated, cond, rngs) for generated, cond, rngs, _ in drawn]
            logs["fake_norm"] = update(self.params["fake"], self.optimizers["fake"], self.world, config.clip)
            logs |= mean_of(fake)
        return mean_of([v for *_, v in drawn]) | logs

    def _generated(self, rngs: Rngs, matched: bool) -> tuple[Latents, Cond, Rngs, Logs]:
        """Clips of one call each; the student is left with the gradient of what they should be."""
        if self.endpoints is None:
            x0, cond = self.batches.draw(rngs)
            n, end = rngs.normal(*x0.shape[1:]).to(x0.device), None
        else:
            with self._autocast(next(self.G.parameters())):
                x0, n, cond, end = self.endpoints.draw(rngs)
        sigma = torch.full((len(x0),), self.high, device=x0.device)
        with self._autocast(x0), torch.set_grad_enabled(matched or end is not None):
            generated = self.G(add_noise(torch.zeros_like(x0), sigma, n), sigma, cond).float()
        logs, loss = {"motion": self._motion(generated.detach(), x0)}, generated.new_zeros(())
        if end is not None:
            off = (generated - end).square().mean()
            logs["regression"], loss = float(off.detach()), loss + self.config.regression * off
        if matched:
            gradient = self._gradient(generated.detach(), cond, rngs)
            logs["distance"], loss = float(gradient.square().mean().sqrt()), loss + (generated * gradient).mean()
        if loss.requires_grad:
            (loss / self.config.accumulate).backward()
        return generated.detach(), cond, rngs, logs

    @torch.no_grad()
    def _gradient(self, generated: Latents, cond: Cond, rngs: Rngs) -> Latents:
        """At one noise level a clip, drawn as the teacher's were."""
        sigma = self._levels(rngs).to(generated.device)
        x = add_noise(generated, sigma, rngs.normal(*generated.shape[1:]).to(generated.device))
        with self._autocast(x):
            fakes = self.fake(x, sigma, cond).float()
            if self.config.guidance > 1:
                wanted = self._guided(x, sigma, cond)
            else:
                wanted = self.teacher(x, sigma, cond)
        return matching_gradient(generated, wanted.float(), fakes)

    def _guided(self, x: Latents, sigma: Sigma, cond: Cond) -> Latents:
        """The guided teacher's answer."""
        conditioner = self.batches.conditioner
        scale = conditioner.guidance_over_frames(self.config.guidance, x.shape[1]).to(x.device)
        return guided(self.teacher, x, sigma, cond, conditioner.unconditional(cond), scale)

    def _follow(self, generated: Latents, cond: Cond, rngs: Rngs) -> Logs:
        """The copy's denoising loss on the student's clips."""
        sigma = self._levels(rngs).to(generated.device)
        n = rngs.normal(*generated.shape[1:]).to(generated.device)
        with self._autocast(generated):
            loss = denoising_loss(self.fake, generated, cond, sigma, n, self.config.max_weight).mean()
        (loss / self.config.accumulate).backward()
        return {"fake_loss": float(loss.detach())}

    def _levels(self, rngs: Rngs) -> Sigma:
        drawn = log_normal(rngs.normal(), self.config.p_mean, self.config.p_std)
        return drawn.clamp(self.low, self.high)

    @staticmethod
    def _motion(generated: Latents, x0: Latents) -> float:
        ours, true = (torch.stack([frame_difference(c) for c in v]).mean() for v in (generated, x0))
        return float(ours / true)

    def _autocast(self, x: Tensor) -> AbstractContextManager[None]:
        return bf16_autocast(x.device, self.config.precision == "bf16")


def train_distribution(
    teacher: Denoiser,
    batches: ClipSampler,
    config: DistributionTraining,
    noise: NoiseRange,
    run_dir: Path,
    world: World = ALONE,
    start: Denoiser | None = None,
) -> Denoiser:
    """Train (or resume) a copy of `start` (the teacher if not given); returns the averaged student."""
    blank, home = spare(start or teacher), next(teacher.parameters()).device
    pairs = config.pairs, config.pair_steps, config.guidance
    ends = Endpoints(run_dir / "endpoints", teacher, batches, noise, *pairs) if config.pairs else None
    task = DistributionTask(teacher, batches, config, noise, world, ends, start)
    run(task, config, run_dir, {"task": "distribution", "sigmas": noise, **config.model_dump()}, world)
    task.averages["generator"].into(blank)
    return blank.to(home).eval()
