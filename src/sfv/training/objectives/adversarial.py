"""The one-step student: SF-V's adversarial fine-tuning of a teacher (2406.04324)."""

import copy
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn
from torch.optim import Adam, Optimizer

from sfv.adversary.discriminator import Discriminator
from sfv.edm.denoiser import Denoiser
from sfv.edm.noise import NoiseRange, add_noise, discrete, discretised_log_normal, karras_grid
from sfv.errors import SfvError
from sfv.system.device import bf16_autocast
from sfv.training import checkpoint
from sfv.training.batches import ClipSampler, frame_difference
from sfv.training.config import StudentTraining
from sfv.training.ema import EMA
from sfv.training.health import STUDENT_RULES
from sfv.training.logs import Logs
from sfv.training.loop import run
from sfv.training.objectives.adversarial_losses import (
    CriticFeatures,
    NoiseDraw,
    discriminator_loss,
    endpoint,
    generator_losses,
    look_at,
)
from sfv.training.objectives.learner import Learner, halves
from sfv.training.optimizers import SM3, Muon, adam8
from sfv.training.parallel import ALONE, World, any_rank, mean_of, place, share_gradients, split_groups, update
from sfv.training.previews import Best, Samples
from sfv.training.seeds import Rngs, Seeds
from sfv.types import Cond, Latents

ENDING = {"blend", "keep"}
"""Fields that say how a finished run ends, not how it runs."""


@dataclass(frozen=True)
class TrainingBatch:
    """A batch and what the networks made of it; `target` is what the reconstruction is measured to."""

    judged: CriticFeatures
    x0: Latents
    target: Latents
    cond: Cond
    draw: NoiseDraw


class StudentTask:
    """Two optimisers: the generator's and the heads'. Heads are small and whole on every rank."""

    def __init__(
        self,
        teacher: Denoiser,
        batches: ClipSampler,
        config: StudentTraining,
        noise: NoiseRange,
        world: World = ALONE,
        start: Denoiser | None = None,
    ) -> None:
        """`start` is where the generator begins, the teacher if not given; the discriminator looks through the teacher.

        With adapters on both, the teacher is copied: one learns to generate, the other to judge.
        """
        self.config, self.world = config, world
        batches, held_out = batches.divided(config.held_out)
        self.batches = batches.limited(config.motion_id, config.motion_most)
        torch.manual_seed(config.seed)
        half, begin = halves(config.precision, batches.device), start or teacher
        judge = copy.deepcopy(teacher) if config.lora and config.backbone_lora and begin is teacher else teacher
        self.learner = Learner(begin, config.lora, half, world, config.lora_convs)
        self.G = self.learner.network
        if half:
            judge.to(torch.bfloat16)  # frozen: what learns stays in fp32
        self.D = discriminator(judge, batches, config)
        if config.differences:
            self.D.difference_scale.copy_(difference_scale(self.batches))
        self.learner.adapt()
        for network in {id(n): n for n in (self.G, judge)}.values():
            if config.recompute:
                network.recompute()
            place(network, world, batches.device)
        self.noise_range, (low, high, rho) = noise, noise
        grid = karras_grid(low, high, config.levels, rho)
        self.g_levels, self.g_below = grid[1:], grid[:-1].float()
        self.d_grid = karras_grid(low, high, 1000, rho)
        self.d_weights = discretised_log_normal(self.d_grid, config.p_mean, config.p_std)
        self.params = {"generator": self.learner.params, "heads": [*self.D.heads.parameters(), *self.D.adapters]}
        self.begins = {"generator": config.head_start}
        self.modules: dict[str, nn.Module] = {"generator": self.G, "heads": self.D.heads}
        if self.D.learns:
            self.modules["backbone"] = judge
        self.optimizers: dict[str, Optimizer] = {
            "generator": optimizer(config.optimizer, self.params["generator"], config.lr),
            "heads": optimizer(config.head_optimizer, self.params["heads"], config.lr_heads),
        }
        self.averages = {"generator": EMA(self.G, config.ema, config.average == "host")}
        louder = math.exp(config.condition_growth)
        self.samples = Samples(judge, held_out, config.samples, high, louder) if config.sample_every else None
        self.best: Best | None = None
        self.rules, self.quiet_until = STUDENT_RULES, config.head_start + 5 * config.log_every

    def step(self, step: int, seeds: Seeds) -> Logs:
        """Heads first, then the generator (after the heads' head start).

        One batch: the generator is judged by the heads as they are after their update. Several (`accumulate`): each
        batch is judged by the heads as they were before this step's last update of them, and both are updated at the
        end; so it is not the same step as one larger batch, though the data are.
        """
        ahead, parts = step < self.config.head_start, self.config.accumulate
        rngs = [seeds.clips(self.config.clips, i, parts) for i in range(parts)]
        for _ in range(self.config.head_updates - 1):
            for i, r in enumerate(rngs):
                self._shares(i)
                self._heads(self._seen(r, "heads"))
            self._update("heads")
        logs = []
        for i, r in enumerate(rngs):
            self._shares(i)
            again = r.copy()
            seen = self._seen(r, "heads" if ahead or not self.config.shared else "both")
            logs.append(self._heads(seen) | motion(seen))
            if parts == 1:
                self._update("heads")
            if not self.config.shared and not ahead:
                seen = self._seen(again, "generator")
            logs[-1] |= self._generator(seen, ahead)
        if parts > 1:
            self._update("heads")
        norm = 0.0 if ahead else self._update("generator")
        return mean_of(logs) | {"g_norm": norm}

    def _shares(self, part: int) -> None:
        """Whether batch `part` of this update is one after which ranks share gradients."""
        last = part == self.config.accumulate - 1
        share_gradients(self.modules.values(), last or not self.config.no_sync)

    def look(self, step: int, run_dir: Path) -> Logs:
        """Figures of the averaged student's samples when they are due; the best student so far is kept."""
        if self.samples is None or step % self.config.sample_every:
            return {}
        average, main = self.averages["generator"], self.world.main
        self.best = self.best or Best(run_dir)
        half = self.config.precision == "bf16"
        with average.applied(), bf16_autocast(self.batches.device, half):
            logs = self.samples.look(self.G, run_dir / "samples" / f"step-{step:06d}.png" if main else None)
        if any_rank([main and self.best.beaten_by(step, logs)], self.world)[0]:  # one rank decides for all
            checkpoint.save(run_dir, step, {"generator": average}, main, file=checkpoint.BEST)
        return logs

    def _seen(self, rngs: Rngs, learner: Literal["heads", "generator", "both"]) -> TrainingBatch:
        """A fresh batch, generated and seen by the backbone; with gradients as the learner needs them."""
        config, levels = self.config, self.g_levels
        sigma = discrete(levels, torch.tensor(config.level_weights), rngs.uniform())
        x0, cond = self.batches.draw(rngs, louder=self._louder(sigma))
        draw = self._draw(x0, sigma, rngs)
        generates, judges = learner != "heads", learner != "heads" or self.D.learns
        near = config.perturbation if config.smoothness else 0.0
        with bf16_autocast(x0.device, config.precision == "bf16"):
            x = add_noise(x0, draw.sigma, draw.n)
            with torch.set_grad_enabled(generates):
                x0_hat = self.G(x, draw.sigma, cond)
            real = self._taught(x0, cond, rngs) if config.real == "teacher" else x0
            with torch.set_grad_enabled(judges):
                judged = look_at(self.D, real, x0_hat, cond, draw, near)
            target = x0
            if config.target == "teacher" and generates:
                target = self._endpoint(x, draw.sigma, cond)
        return TrainingBatch(judged, x0, target, cond, draw)

    def _louder(self, sigma: Tensor) -> Tensor | None:
        """How much more noise each clip's condition gets: 1 at the lowest of G's levels, e^condition_growth at the
        highest, where generation starts (a single level is that one)."""
        growth, (low, high) = self.config.condition_growth, (self.g_levels[0], self.g_levels[-1])
        if growth == 0:
            return None
        share = (sigma / low).log() / (high / low).log() if high > low else torch.ones_like(sigma)
        return (growth * share.float()).exp()

    def _taught(self, x0: Latents, cond: Cond, rngs: Rngs) -> Latents:
        """What the teacher makes of the same conditions from fresh noise."""
        high = x0.new_full((len(x0),), float(self.g_levels[-1]))
        return self._endpoint(add_noise(0 * x0, high, rngs.normal(*x0.shape[1:]).to(x0.device)), high, cond)

    def _endpoint(self, x: Latents, sigma: Tensor, cond: Cond) -> Latents:
        config = self.config
        conditioner = self.batches.conditioner
        uncond = conditioner.unconditional(cond) if config.target_guidance > 1 else None
        scale = conditioner.guidance_over_frames(config.target_guidance, x.shape[1]).to(x.device)
        with self.D.backbone.plain():
            return endpoint(self.D.backbone, x, sigma, cond, uncond, scale, self.noise_range, config.target_steps)

    def _draw(self, x0: Tensor, sigma: Tensor, rngs: Rngs) -> NoiseDraw:
        """Noise levels and noise of one step."""
        sigma_d = discrete(self.d_grid[1:], self.d_weights, rngs.uniform())
        if self.config.d_noise == "next":
            sigma_d = self.g_below[torch.searchsorted(self.g_levels.float(), sigma)]
        n, n_d, n_near = (rngs.normal(*x0.shape[1:]) for _ in range(3))
        close = torch.tensor(self.config.reconstruction_levels or (1.0,) * len(self.g_levels))
        at = torch.searchsorted(self.g_levels.float(), sigma)
        return NoiseDraw(*(v.to(x0.device) for v in (sigma, n, sigma_d, n_d, n_near, close[at])))

    def _heads(self, seen: TrainingBatch) -> Logs:
        loss, logs = discriminator_loss(self.D, seen.judged, seen.cond, seen.draw, self.config)
        (loss / self.config.accumulate).backward()
        return logs

    def _generator(self, seen: TrainingBatch, ahead: bool) -> Logs:
        """The generator's gradient alone: the discriminator stands still.

        It is taken at x0_hat for either loss apart, which shows who leads, and then sent through G once.
        """
        x0_hat = seen.judged.x0_hat
        with torch.set_grad_enabled(not ahead):
            *losses, logs = generator_losses(self.D, seen.judged, seen.target, seen.cond, seen.draw, self.config)
        if ahead:
            return logs | {"g_balance": 0.0}
        judged, near = (torch.autograd.grad(v, x0_hat)[0] for v in losses)
        x0_hat.backward((judged + near) / self.config.accumulate)
        balance = near.norm() / judged.norm() if judged.any() else torch.zeros(())  # 0, too, where nobody judges
        return logs | {"g_balance": float(balance)}

    def _update(self, name: str) -> float:
        """Returns the gradient's norm."""
        return update(self.params[name], self.optimizers[name], self.world, self.config.clip)


MEASURED = 16
"""Clips over which the spread of differences is taken."""


def difference_scale(batches: ClipSampler) -> Tensor:
    """(c,): root mean square of each latent channel's change from frame to frame, over a few fixed clips."""
    clips = (batches.draw(Seeds(0, i).clips(1))[0] for i in range(MEASURED))
    square = torch.stack([(x[:, 1:] - x[:, :-1]).square().mean((0, 1, 3, 4)) for x in clips]).mean(0)
    return square.sqrt().clamp(min=1e-6)


def discriminator(teacher: Denoiser, batches: ClipSampler, config: StudentTraining) -> Discriminator:
    """What `config` asks for, over `teacher`, for the latents of the batches' codec."""
    channels = batches.codec.latent_shape(1, 512, 512)[1] if config.differences else 0
    options = {"kinds": config.heads, "differences": channels, "rank": config.backbone_lora}
    return Discriminator(teacher, config.head_width, **options).to(batches.device)  # type: ignore[arg-type]


def optimizer(name: str, params: list[nn.Parameter], lr: float) -> Optimizer:
    """By name, with the momenta that adversarial training uses."""
    if name == "muon":
        return Muon(params, lr, momentum=0.9, dtype=torch.float32)
    groups = split_groups(params)
    if name == "adam8":
        return adam8(groups, lr, (0.5, 0.99))
    return SM3(groups, lr) if name == "sm3" else Adam(groups, lr=lr, betas=(0.5, 0.99))


def motion(seen: TrainingBatch) -> Logs:
    """How much the generator's clips move, and how far their latents spread, as shares of the real ones."""
    x0_hat, x0 = seen.judged.x0_hat.detach(), seen.x0
    generated, true = (torch.stack([frame_difference(c) for c in v]).mean() for v in (x0_hat, x0))
    return {"motion": float(generated / true), "spread": float(x0_hat.std() / x0.std())}


def train_student(
    teacher: Denoiser,
    batches: ClipSampler,
    config: StudentTraining,
    noise: NoiseRange,
    run_dir: Path,
    world: World = ALONE,
    start: Denoiser | None = None,
) -> Denoiser:
    """Train (or resume) a copy of `start` (the teacher if not given) and return the averaged one-step student, blended
    with where it began.

    A finished run may be ended again: with another share of blending, with its best or its last student.
    `noise` is the range of levels that the teacher was trained under.
    """
    if config.lora and config.blend < 1:
        raise SfvError("blend is for training in full; with lora it must be 1")
    task = StudentTask(teacher, batches, config, noise, world, start)
    run(task, config, run_dir, {"task": "student", "sigmas": noise, **config.model_dump(exclude=ENDING)}, world)
    if config.keep == "best":
        checkpoint.load_latest(run_dir, {"generator": task.averages["generator"]}, checkpoint.BEST)
    return task.learner.ended(task.averages["generator"], config.blend, run_dir, world)
