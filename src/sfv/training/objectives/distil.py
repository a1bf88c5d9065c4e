"""Which objectives a student is trained with, one after the other: a configuration's type decides. One file each."""

import math
from collections.abc import Callable
from pathlib import Path

import torch

from sfv.edm.denoiser import Denoiser
from sfv.edm.noise import NoiseRange
from sfv.errors import SfvError
from sfv.families.load import load
from sfv.settings import Defaults
from sfv.system.device import host_of
from sfv.training.batches import ClipSampler
from sfv.training.config import (
    ConsistencyTraining,
    DistributionTraining,
    DriftingTraining,
    PairTraining,
    Schedule,
    Stages,
    StudentTraining,
)
from sfv.training.objectives.adversarial import train_student
from sfv.training.objectives.consistency import train_consistency
from sfv.training.objectives.distribution import train_distribution
from sfv.training.objectives.drifting import train_drifting
from sfv.training.objectives.learner import spare
from sfv.training.objectives.pairs import train_pairs
from sfv.training.parallel import ALONE, World

OBJECTIVES: tuple[tuple[type[Schedule], Callable[..., Denoiser]], ...] = (
    (StudentTraining, train_student),
    (ConsistencyTraining, train_consistency),
    (DistributionTraining, train_distribution),
    (PairTraining, train_pairs),
    (DriftingTraining, train_drifting),
)


def train_chain(
    teacher: Denoiser,
    batches: ClipSampler,
    stages: Stages,
    noise: NoiseRange,
    run_dir: Path,
    world: World = ALONE,
) -> Denoiser:
    """The student that comes of all stages, each begun with the one before it; every stage's teacher is `teacher`.

    The first begins as the teacher, or as the student of the model that its `start` names. One stage keeps its run in
    `run_dir`, several in folders by number inside it. What waits between them does so on the CPU; the student comes
    back to where the teacher was.
    """
    home = next(teacher.parameters()).device
    start = _start(teacher, stages)
    for i, stage in enumerate(stages):
        train = next((f for kind, f in OBJECTIVES if isinstance(stage, kind)), None)
        if train is None:
            raise SfvError(f"{type(stage).__name__} does not configure a student")
        folder = run_dir / str(i) if len(stages) > 1 else run_dir
        start = train(teacher, batches, stage, noise, folder, world, start)
        if i < len(stages) - 1:
            start = start.to(host_of(home))
    assert start is not None
    return start.to(home)


def _start(teacher: Denoiser, stages: Stages) -> Denoiser | None:
    """Where the first stage begins; None for the teacher itself, as it is. SfvError if it is another network."""
    names = [getattr(stage, "start", None) for stage in stages]
    if any(names[1:]):
        raise SfvError("start is the first stage's: later ones begin with the one before; give 0.start")
    if not names[0]:
        return spare(teacher) if len(stages) > 1 else None  # a stage may change where it begins in place
    start = load(names[0], "cpu", torch.float32).denoiser
    if _shapes(start) != _shapes(teacher):
        raise SfvError(f"start={names[0]}: its network is not built as the teacher's; name a student of this teacher")
    return start.to(host_of(next(teacher.parameters()).device))


def _shapes(network: Denoiser) -> dict[str, tuple[int, ...]]:
    return {name: tuple(p.shape) for name, p in network.named_parameters()}


def called_once(defaults: Defaults, stage: Schedule) -> Defaults:
    """A student is called once without guidance; more calls are sampled as it was trained.

    Where condition noise grew with sigma, a picture gets as much more of it as in training.
    """
    louder = math.exp(getattr(stage, "condition_growth", 0.0))
    noise_aug = min(1.0, defaults.noise_aug * louder)
    sampler = "consistency" if isinstance(stage, ConsistencyTraining) else "euler"
    return Defaults(**defaults.model_dump() | {"steps": 1, "guidance": 1.0, "sampler": sampler, "noise_aug": noise_aug})
