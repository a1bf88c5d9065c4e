"""What is counted without weights is what a run holds: real steps on the CPU, every tensor that is alive."""

from typing import Any

import pytest
import torch
from torch import Tensor

from sfv.costs.counting import Tally
from sfv.costs.training import NOISE, account
from sfv.edm.denoiser import Denoiser
from sfv.families.svd.sizes import TINY, new_model, shapes
from sfv.training.batches import ClipSampler
from sfv.training.config import StudentTraining, TeacherTraining
from sfv.training.objectives.adversarial import StudentTask
from sfv.training.objectives.denoising import TeacherTask
from sfv.training.seeds import Rngs, Seeds
from sfv.types import Cond

CPU = torch.device("cpu")
STUDENT = {"steps": 9, "clips": 2, "head_start": 0, "head_width": 32, "precision": "fp32"}
TEACHER = {"steps": 9, "clips": 2, "precision": "fp32"}


class Noise(ClipSampler):
    """Clips of noise, made without a codec."""

    def __init__(self, model: Any) -> None:
        self.codec, self.conditioner = model.codec, model.conditioner

    def draw(self, rngs: Rngs, drop: float = 0.0, louder: Tensor | None = None) -> tuple[Tensor, Cond]:
        cond = {
            "image_latents": rngs.normal(4, 16, 16),
            "image_embeds": rngs.normal(1, 32),
            "added_time_ids": torch.tensor([[6.0, 127.0, 0.02]]).repeat(len(rngs), 1),
        }
        return rngs.normal(4, 4, 16, 16), cond


def task(teacher: Denoiser, batches: Noise, config: StudentTraining | TeacherTraining) -> Any:
    if isinstance(config, StudentTraining):
        return StudentTask(teacher, batches, config, NOISE)
    return TeacherTask(teacher.requires_grad_(True), batches, config, NOISE[:2])


def held(config: StudentTraining | TeacherTraining) -> int:
    """The most bytes that a run of two steps holds, what it keeps on the host for its end left out."""
    model = new_model(TINY, 0)
    weights = sum(p.nbytes for p in model.denoiser.parameters())
    with Tally(CPU) as tally:
        run = task(model.denoiser, Noise(model), config)
        for step in range(2):
            run.step(step, Seeds(0, step))
            for average in run.averages.values():
                average.update()
        spare = weights if isinstance(config, StudentTraining) and not config.lora else 0
    return weights + tally.peak - spare


@pytest.mark.parametrize(
    "config",
    [
        StudentTraining(**STUDENT),
        StudentTraining(**STUDENT, optimizer="sm3", head_optimizer="sm3", recompute=True, accumulate=2),
        StudentTraining(**STUDENT, lora=4, recompute=True),
        StudentTraining(**STUDENT, lora=4, backbone_lora=4, shared=False, gamma=0.0, smoothness=1.0, heads="stc"),
        StudentTraining(**STUDENT, differences=True, optimizer="muon", feature_matching=1.0),
        TeacherTraining(**TEACHER),
        TeacherTraining(**TEACHER, accumulate=2),
    ],
    ids=["whole", "paper", "adapters", "both adapt", "differences", "teacher", "teacher, two batches"],
)
def test_the_count_is_what_a_run_holds(config: StudentTraining | TeacherTraining) -> None:
    counted = account(shapes(TINY), config, flash=False)
    assert counted.peak - counted.codec == pytest.approx(held(config), rel=0.02)
