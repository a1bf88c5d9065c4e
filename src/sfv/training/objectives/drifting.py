"""A student without a discriminator: its clips drift, in the frozen teacher's features, to real ones and apart.

Drifting (2602.04770, Alg. 1 and 2) in a teacher's own features (2605.07327), here for video: every sample is pulled to
the real ones near it and pushed from the other generated ones near it; where both are alike, nothing moves. Features
are the taps of SF-V's discriminator (Fig. 3), at every place of a coarse grid by itself, and their change over time.
"""

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from sfv.adversary.discriminator import standardised
from sfv.edm.denoiser import Denoiser
from sfv.edm.noise import NoiseRange, add_noise, log_normal
from sfv.system.device import bf16_autocast
from sfv.training.batches import ClipSampler, frame_difference
from sfv.training.config import DriftingTraining
from sfv.training.logs import Logs
from sfv.training.loop import run
from sfv.training.objectives.generator_task import GeneratorTask
from sfv.training.objectives.learner import Learner, halves
from sfv.training.parallel import ALONE, World, place
from sfv.training.seeds import Rngs
from sfv.types import Cond, Features, Latents

GRID = 4
"""Places along either side of a map at which samples are compared."""


@torch.no_grad()
def drift(samples: Tensor, real: Tensor, temperatures: tuple[float, ...]) -> Tensor:
    """Where each sample goes: to near real ones, from near samples; (n, places, c) against (m, places, c).

    Distances are in units of their mean. For each temperature t, k = exp(-distance / t) is shared out over what a
    sample sees and over who sees it (the root of both softmaxes), and the drift of its own size is 1 on average.
    """
    x, y = samples.transpose(0, 1).float(), real.transpose(0, 1).float()
    far = torch.cat([torch.cdist(x, y), torch.cdist(x, x)], -1)
    n, m = x.shape[1], y.shape[1]
    far = far / far.sum((-2, -1), keepdim=True).clamp(min=1e-8) * (n * (m + n - 1))
    far[..., m:] += 1e6 * torch.eye(n, device=x.device)  # a sample does not push itself
    total = torch.zeros_like(x)
    for t in temperatures:
        near = (-far / t).softmax(-1).mul((-far / t).softmax(-2)).sqrt()
        pull, push = near[..., :m], near[..., m:]
        to, away = pull * push.sum(-1, keepdim=True), push * pull.sum(-1, keepdim=True)
        move = to @ y - away @ x
        total += move / move.square().mean().sqrt().clamp(min=1e-8)
    return total.transpose(0, 1)


def places(maps: list[Features]) -> list[Tensor]:
    """Each map, and its change from frame to frame, on a coarse grid: (b, frames * grid * grid, c)."""
    found = []
    for h in maps:
        b, _, c = h.shape[:3]
        coarse = F.adaptive_avg_pool2d(h.flatten(0, 1), min(GRID, h.shape[-1])).unflatten(0, (b, -1))
        for v in (coarse, coarse[:, 1:] - coarse[:, :-1]):
            found.append(v.movedim(2, -1).reshape(b, -1, c))
    return found


class DriftingTask(GeneratorTask):
    """One optimiser, no discriminator."""

    def __init__(
        self,
        teacher: Denoiser,
        learner: Learner,
        batches: ClipSampler,
        config: DriftingTraining,
        noise: NoiseRange,
        world: World = ALONE,
    ) -> None:
        super().__init__(config, world)
        self.config, self.noise = config, noise
        self.batches = batches.limited(config.motion_id, config.motion_most)
        torch.manual_seed(config.seed)
        self.teacher = teacher.eval().requires_grad_(False)
        learner.adapt()
        self.G = learner.network
        for network in {id(n): n for n in (self.G, teacher)}.values():
            if config.recompute:
                network.recompute()
            place(network, world, batches.device)
        self.learns(self.G, learner.params, config.lr, config.ema, 0.99)

    def _backward(self, rngs: Rngs) -> Logs:
        config = self.config
        x0, cond = self.batches.draw(rngs)
        shape, on, many = x0.shape[1:], x0.device, config.noises
        twice = {k: v.repeat_interleave(many, 0) for k, v in cond.items()}
        n = torch.cat([rngs.normal(many, *shape)]).flatten(0, 1).to(on)
        high = torch.full((len(n),), self.noise.sigma_max, device=on)
        level = log_normal(rngs.normal(), config.p_mean, config.p_std)[:1].to(on)
        veil = rngs.normal(*shape)[:1].to(on)  # one noise for all: it adds no distance of its own
        with bf16_autocast(on, config.precision == "bf16"):
            made = self.G(add_noise(torch.zeros_like(n), high, n), high, twice).float()
            seen = self._features(made, level, veil, twice)
            with torch.no_grad():
                real = self._features(x0, level, veil, cond)
        losses, sizes = [], []
        for ours, theirs in zip(seen, real, strict=True):
            move = drift(ours.detach(), theirs, config.temperatures)
            losses.append((ours - (ours.detach() + move)).square().mean())
            sizes.append((ours.detach().mean(0) - theirs.mean(0)).square().mean().sqrt())
        (torch.stack(losses).mean() / config.accumulate).backward()
        moves = [torch.stack([frame_difference(c) for c in v]).mean() for v in (made.detach(), x0)]
        return {
            "gap": float(torch.stack(sizes).mean()),
            "motion": float(moves[0] / moves[1]),
            "spread": float(made.detach().std() / x0.std()),
        }

    def _features(self, x: Latents, level: Tensor, veil: Tensor, cond: Cond) -> list[Tensor]:
        sigma = level.expand(len(x))
        with self.teacher.plain():
            maps = self.teacher.features(add_noise(x, sigma, veil.expand_as(x)), sigma, cond)
        return places([standardised(h.float()) for h in maps])


def train_drifting(
    teacher: Denoiser,
    batches: ClipSampler,
    config: DriftingTraining,
    noise: NoiseRange,
    run_dir: Path,
    world: World = ALONE,
    start: Denoiser | None = None,
) -> Denoiser:
    """Train (or resume) a copy of `start` (the teacher if not given); returns the averaged student."""
    half = halves(config.precision, batches.device)
    learner = Learner(start or teacher, config.lora, half, world, config.lora_convs)
    task = DriftingTask(teacher, learner, batches, config, noise, world)
    run(task, config, run_dir, {"task": "drifting", "sigmas": noise, **config.model_dump()}, world)
    return learner.ended(task.averages["generator"], 1.0, run_dir, world)
