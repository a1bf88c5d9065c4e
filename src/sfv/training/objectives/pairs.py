"""A student that learns where its teacher ends: regression from noise to the guided teacher's own last latents.

The pairs are made once and kept (endpoints.py; DMD, 2311.18828, Eq. 9). From a given noise the end is one clip, not
many, so that its mean is no blur; what a small network cannot follow is blurred all the same. A warm start for the
adversary.
"""

from pathlib import Path

import torch
from torch import Tensor

from sfv.edm.denoiser import Denoiser
from sfv.edm.noise import NoiseRange, add_noise
from sfv.system.device import bf16_autocast
from sfv.training.batches import ClipSampler, frame_difference
from sfv.training.config import PairTraining
from sfv.training.logs import Logs
from sfv.training.loop import run
from sfv.training.objectives.endpoints import Endpoints
from sfv.training.objectives.generator_task import GeneratorTask
from sfv.training.objectives.learner import Learner, halves
from sfv.training.parallel import ALONE, World, place
from sfv.training.seeds import Rngs
from sfv.types import Latents


class PairTask(GeneratorTask):
    """One optimiser."""

    def __init__(
        self, learner: Learner, endpoints: Endpoints, config: PairTraining, noise: NoiseRange, world: World = ALONE
    ) -> None:
        super().__init__(config, world)
        self.config, self.endpoints, self.high = config, endpoints, noise.sigma_max
        torch.manual_seed(config.seed)
        learner.adapt()
        self.learner, self.G = learner, learner.network
        if config.recompute:
            self.G.recompute()
        place(self.G, world, endpoints.batches.device)
        self.learns(self.G, learner.params, config.lr, config.ema, 0.99)

    def _backward(self, rngs: Rngs) -> Logs:
        config = self.config
        half = bf16_autocast(self.endpoints.batches.device, config.precision == "bf16")
        with half:  # its own context: autocast remembers weights it has cast
            _, n, cond, end = self.endpoints.draw(rngs)
        sigma = torch.full((len(n),), self.high, device=n.device)
        with bf16_autocast(n.device, config.precision == "bf16"):
            made = self.G(add_noise(torch.zeros_like(n), sigma, n), sigma, cond).float()
        off, jump = (made - end).square().mean(), (changes(made) - changes(end)).square().mean()
        ((off + config.differences * jump) / config.accumulate).backward()
        moves = [torch.stack([frame_difference(c) for c in v]).mean() for v in (made.detach(), end)]
        alive = (end - end.mean(1, keepdim=True)).square().mean()
        return {
            "loss": float(off.detach()),
            "jump": float(jump.detach()),
            "error_to_still": float(off.detach() / alive),
            "motion": float(moves[0] / moves[1]),
        }


def changes(x: Latents) -> Tensor:
    """From frame to frame."""
    return x[:, 1:] - x[:, :-1]


def train_pairs(
    teacher: Denoiser,
    batches: ClipSampler,
    config: PairTraining,
    noise: NoiseRange,
    run_dir: Path,
    world: World = ALONE,
    start: Denoiser | None = None,
) -> Denoiser:
    """Train (or resume) a copy of `start` (the teacher if not given); returns the averaged student."""
    limited = batches.limited(config.motion_id, config.motion_most)
    guide = teacher.eval().requires_grad_(False)
    folder, of = run_dir / "endpoints", (config.pairs, config.pair_steps, config.guidance)
    ends = Endpoints(folder, guide, limited, noise, *of)
    half = halves(config.precision, batches.device)
    learner = Learner(start or teacher, config.lora, half, world, config.lora_convs)
    guide.to(batches.device)  # halved, if it is what learns
    task = PairTask(learner, ends, config, noise, world)
    run(task, config, run_dir, {"task": "pairs", "sigmas": noise, **config.model_dump()}, world)
    return learner.ended(task.averages["generator"], 1.0, run_dir, world)
