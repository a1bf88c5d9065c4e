"""Which objective a student is trained with: its configuration's type decides. One file each, one shape of call."""

import math
from pathlib import Path

from sfv.edm.denoiser import Denoiser
from sfv.edm.noise import NoiseRange
from sfv.errors import SfvError
from sfv.settings import Defaults
from sfv.training.batches import ClipSampler
from sfv.training.config import ConsistencyTraining, DistributionTraining, Schedule, StudentTraining
from sfv.training.objectives.adversarial import train_student
from sfv.training.objectives.consistency import train_consistency
from sfv.training.objectives.distribution import train_distribution
from sfv.training.parallel import ALONE, World


def train_any(
    teacher: Denoiser,
    batches: ClipSampler,
    stage: Schedule,
    noise: NoiseRange,
    run_dir: Path,
    world: World = ALONE,
) -> Denoiser:
    """The student that `stage` asks for: adversarial, by consistency, or by distribution matching."""
    if isinstance(stage, ConsistencyTraining):
        return train_consistency(teacher, batches, stage, noise, run_dir, world)
    if isinstance(stage, DistributionTraining):
        return train_distribution(teacher, batches, stage, noise, run_dir, world)
    if isinstance(stage, StudentTraining):
        return train_student(teacher, batches, stage, noise, run_dir, world)
    raise SfvError(f"{type(stage).__name__} does not configure a student")


def called_once(defaults: Defaults, stage: Schedule) -> Defaults:
    """A student is called once without guidance; more calls are sampled as it was trained.

    Where condition noise grew with sigma, a picture gets as much more of it as in training.
    """
    louder = math.exp(getattr(stage, "condition_growth", 0.0))
    noise_aug = min(1.0, defaults.noise_aug * louder)
    sampler = "consistency" if isinstance(stage, ConsistencyTraining) else "euler"
    return Defaults(**defaults.model_dump() | {"steps": 1, "guidance": 1.0, "sampler": sampler, "noise_aug": noise_aug})
