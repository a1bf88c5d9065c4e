"""A tiny student's training task."""

import torch
from conftest import wiggle
from ranks import Noise

from sfv.edm.noise import NoiseRange
from sfv.families.svd.sizes import TINY, new_model
from sfv.training.config import StudentTraining
from sfv.training.objectives.adversarial import StudentTask
from sfv.training.seeds import Rngs

NOISE_RANGE = NoiseRange(0.002, 200.0)


PLAIN = {"steps": 4, "clips": 2, "warmup": 0, "precision": "fp32", "head_start": 0, "head_width": 32} | {
    "optimizer": "adam",
    "head_optimizer": "adam",
    "log_every": 1,
}


class Recorded(Noise):
    """Keeps the condition noise that clips were given."""

    noise_aug: list[torch.Tensor]

    def draw(self, rngs: Rngs, drop: float = 0.0, louder: torch.Tensor | None = None):  # type: ignore[no-untyped-def]
        x0, cond = super().draw(rngs, drop, louder)
        self.noise_aug = [*getattr(self, "noise_aug", []), cond["added_time_ids"][:, 2]]
        return x0, cond


def task(batches: type[Noise] = Noise, **changes: object) -> StudentTask:
    model = wiggle(new_model(TINY, 0))
    how = StudentTraining(**(PLAIN | changes))  # type: ignore[arg-type]
    return StudentTask(model.denoiser, batches(model), how, NOISE_RANGE)
