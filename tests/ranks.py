"""A tiny run for tests of many processes: python ranks.py TASK MODE CLIPS ACCUMULATE STEPS FOLDER [OPTIMIZER]."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import torch
from conftest import wiggle

from sfv.edm.noise import NoiseRange
from sfv.families.svd.sizes import TINY, new_model
from sfv.training.batches import ClipSampler, Picked
from sfv.training.config import StudentTraining, TeacherTraining
from sfv.training.objectives.adversarial import train_student
from sfv.training.objectives.denoising import train_teacher
from sfv.training.parallel import join
from sfv.training.seeds import Rngs


class Noise(ClipSampler):
    """Clips of noise, a function of their generators."""

    autocast = False

    def __init__(self, model: object) -> None:
        self.codec, self.conditioner = model.codec, model.conditioner  # type: ignore[attr-defined]

    def pick(self, rngs: Rngs) -> Picked:
        pictures = rngs.uniform()[:, None, None, None].expand(-1, 3, 32, 32) * 2 - 1
        b = len(rngs)
        return Picked(
            rngs.normal(4, 4, 16, 16), pictures, rngs.normal(1, 32), torch.full((b,), 7.0), torch.full((b,), 9.0)
        )


class Flat(Noise):
    """Clips of one colour each frame: easy to tell from what an untrained network makes."""

    def pick(self, rngs: Rngs) -> Picked:
        got = super().pick(rngs)
        return replace(got, x0=rngs.normal(4, 4, 1, 1).expand(-1, -1, -1, 16, 16))


def main(task: str, mode: str, clips: int, accumulate: int, steps: int, folder: Path, opt: str = "adam") -> None:
    torch.set_num_threads(1)
    world = join(mode)  # type: ignore[arg-type]
    model = wiggle(new_model(TINY, 0))
    batches = Noise(model)
    shared = {"steps": steps, "clips": clips, "accumulate": accumulate, "warmup": 0, "log_every": 1, "lr": 1e-5}
    shared |= {"precision": "fp32"}
    if task == "teacher":
        D = model.denoiser.requires_grad_(True)
        train_teacher(D, batches, TeacherTraining(**shared), (0.002, 200.0), folder, world)  # type: ignore[arg-type]
    else:
        how = StudentTraining(**shared, head_start=2, head_width=32, lr_heads=1e-4, optimizer=opt, head_optimizer=opt)  # type: ignore[arg-type]
        G = train_student(model.denoiser, batches, how, NoiseRange(0.002, 200.0), folder, world)
        if world.main:
            total = sum(float(p.double().sum()) for p in G.parameters())
            (folder / "sum.json").write_text(json.dumps(total))


if __name__ == "__main__":
    task, mode, clips, accumulate, steps, folder, *more = sys.argv[1:]
    main(task, mode, int(clips), int(accumulate), int(steps), Path(folder), *more)
