"""The one-step student: SF-V's adversarial fine-tuning of a teacher (2406.04324)."""

import copy
import math
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim import Adam, Optimizer

from sfv.adversary.discriminator import Discriminator
from sfv.edm.denoiser import Denoiser
from sfv.edm.noise import discrete, discretised_log_normal, karras_grid
from sfv.errors import SfvError
from sfv.media import replacing
from sfv.training.batches import Draws, frame_difference
from sfv.training.config import StudentTraining
from sfv.training.ema import EMA
from sfv.training.health import STUDENT_RULES
from sfv.training.loop import Logs, run
from sfv.training.optimizers import SM3, Muon
from sfv.training.parallel import ALONE, World, average_gradients, clip_gradients, shard, split_groups
from sfv.training.seeds import Rngs, Seeds
from sfv.training.step import Draw, Judged, discriminator_loss, generator_loss, judge
from sfv.types import Cond, Latents


@dataclass(frozen=True)
class Seen:
    """A batch and what the networks made of it."""

    judged: Judged
    x0: Latents
    cond: Cond
    draw: Draw


class StudentTask:
    """Two optimisers: the generator's and the heads'. Heads are small and whole on every rank."""

    def __init__(
        self,
        teacher: Denoiser,
        batches: Draws,
        config: StudentTraining,
        sigmas: tuple[float, float, float],
        world: World = ALONE,
    ) -> None:
        self.config, self.batches, self.world = config, batches, world
        embed = batches.draw(Seeds(0, 0).clips(1))[1]["image_embeds"].shape[-1]
        torch.manual_seed(config.seed)
        self.D = Discriminator(teacher, embed, config.head_width).to(batches.device)
        self.G = teacher if config.lora else copy.deepcopy(teacher).train().requires_grad_(True)
        if config.precision == "bf16" and batches.device.type == "cuda":
            teacher.to(torch.bfloat16)  # frozen: the learning copy stays in fp32
        adapters = teacher.adapt(config.lora) if config.lora else []
        for network in {id(n): n for n in (self.G, teacher)}.values():
            if config.recompute:
                network.recompute()
            shard(network.blocks(), world)
        low, high, rho = sigmas
        self.g_levels = karras_grid(low, high, config.levels, rho)[1:]
        self.d_grid = karras_grid(low, high, 1000, rho)
        self.d_law = discretised_log_normal(self.d_grid, config.p_mean, config.p_std)
        self.params = {"generator": adapters or self.G.learnable(), "heads": list(self.D.heads.parameters())}
        self.modules: dict[str, nn.Module] = {"generator": self.G, "heads": self.D.heads}
        self.optimizers: dict[str, Optimizer] = {
            "generator": optimizer(config.optimizer, self.params["generator"], config.lr),
            "heads": optimizer(config.head_optimizer, self.params["heads"], config.lr_heads),
        }
        self.averages = {"generator": EMA(self.G, config.ema)}
        self.rules, self.quiet_until = STUDENT_RULES, config.head_start + 5 * config.log_every

    def draw(self, x0: Tensor, rngs: Rngs) -> Draw:
        """Noise levels and noise of one step."""
        sigma = discrete(self.g_levels, torch.tensor(self.config.level_weights), rngs.uniform())
        sigma_d = discrete(self.d_grid[1:], self.d_law, rngs.uniform())
        n, n_d, n_near = (rngs.normal(*x0.shape[1:]) for _ in range(3))
        return Draw(*(v.to(x0.device) for v in (sigma, n, sigma_d, n_d, n_near)))

    def step(self, step: int, seeds: Seeds) -> Logs:
        """Heads first, then the generator (after the heads' head start).

        One batch: the generator is judged by the heads as they are after their update. Several: each batch is judged
        by the heads as they were, and both are updated at the end.
        """
        ahead, parts = step < self.config.head_start, self.config.accumulate
        rngs = [seeds.clips(self.config.clips, i, parts) for i in range(parts)]
        for _ in range(self.config.head_updates - 1):
            for r in rngs:
                self._heads(self._seen(r, learn=False))
            self._update("heads")
        logs = []
        for r in rngs:
            seen = self._seen(r, learn=not ahead)
            logs.append(self._heads(seen) | motion(seen))
            if parts == 1:
                self._update("heads")
            logs[-1] |= self._generator(seen, ahead)
        if parts > 1:
            self._update("heads")
        norm = 0.0 if ahead else self._update("generator")
        return {k: sum(v[k] for v in logs) / parts for k in logs[0]} | {"g_norm": norm}

    def _seen(self, rngs: Rngs, learn: bool) -> Seen:
        """A fresh batch, generated and seen by the backbone; with the generator's gradient if it is to learn."""
        x0, cond = self.batches.draw(rngs)
        draw = self.draw(x0, rngs)
        half = self.config.precision == "bf16"
        with torch.autocast(x0.device.type, torch.bfloat16, enabled=half), torch.set_grad_enabled(learn):
            near = self.config.perturbation if self.config.smoothness else 0.0
            return Seen(judge(self.G, self.D, x0, cond, draw, near), x0, cond, draw)

    def _heads(self, seen: Seen) -> Logs:
        loss, logs = discriminator_loss(self.D, seen.judged, seen.cond, seen.draw, self.config)
        (loss / self.config.accumulate).backward()
        return logs

    def _generator(self, seen: Seen, ahead: bool) -> Logs:
        """The generator's gradient alone: the heads stand still."""
        self.D.heads.requires_grad_(False)
        with torch.set_grad_enabled(not ahead):
            loss, logs = generator_loss(self.D, seen.judged, seen.x0, seen.cond, seen.draw, self.config)
            if not ahead:
                (loss / self.config.accumulate).backward()
        self.D.heads.requires_grad_(True)
        return logs

    def _update(self, name: str) -> float:
        """Share, clip, step; returns the gradient's norm. A step that is not finite is skipped."""
        average_gradients(self.params[name], self.world)
        norm = clip_gradients(self.params[name], self.config.clip)
        if math.isfinite(norm):
            self.optimizers[name].step()
        self.optimizers[name].zero_grad(set_to_none=True)
        return norm


def optimizer(name: str, params: list[nn.Parameter], lr: float) -> Optimizer:
    """By name, with the momenta that adversarial training uses."""
    if name == "muon":
        return Muon(params, lr, momentum=0.9, kind=torch.float32)
    groups = split_groups(params)
    return SM3(groups, lr) if name == "sm3" else Adam(groups, lr=lr, betas=(0.5, 0.99))


def motion(seen: Seen) -> Logs:
    """How much the generator's clips move, and how far their latents spread, as shares of the real ones."""
    x0_hat, x0 = seen.judged.x0_hat.detach(), seen.x0
    made, true = (torch.stack([frame_difference(c) for c in v]).mean() for v in (x0_hat, x0))
    return {"motion": float(made / true), "spread": float(x0_hat.std() / x0.std())}


def train_student(
    teacher: Denoiser,
    batches: Draws,
    config: StudentTraining,
    sigmas: tuple[float, float, float],
    run_dir: Path,
    world: World = ALONE,
) -> Denoiser:
    """Train (or resume) a copy of `teacher` and return the averaged one-step student, blended with the teacher.

    Blending comes after training: a finished run may be ended again with another share.
    `sigmas` = (sigma_min, sigma_max, rho) of the model's noise law.
    """
    if config.lora and world.size > 1 and world.mode == "fsdp":
        raise SfvError("lora is for one card or ddp; train in full (lora=0) with fsdp")
    if config.lora and config.blend < 1:
        raise SfvError("blend is for training in full; with lora it must be 1")
    blank = teacher if config.lora else copy.deepcopy(teacher)
    task = StudentTask(teacher, batches, config, sigmas, world)
    run(task, config, run_dir, {"task": "student", "sigmas": sigmas, **config.model_dump(exclude={"blend"})}, world)
    task.averages["generator"].into(blank, config.blend)
    if config.lora and world.main:
        with replacing(run_dir / "lora.safetensors") as path:
            save_file({k: v.contiguous() for k, v in blank.adapter_state().items()}, path)
    blank.merge()
    return blank.eval()
