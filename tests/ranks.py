"""Tiny runs for tests of many processes, one after the other: python ranks.py RUN [RUN ...], each the JSON of a Run."""

import faulthandler
import json
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
import torch.distributed as dist
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


@dataclass(frozen=True)
class Run:
    """A teacher's or student's training on noise; `clips` are a rank's own."""

    folder: str
    task: str = "student"
    mode: str = "ddp"
    clips: int = 2
    accumulate: int = 1
    steps: int = 4
    optimizer: str = "adam"
    backbone_lora: int = 0
    no_sync: bool = False

    def text(self) -> str:
        """For a command line."""
        return json.dumps(asdict(self))


def train(run: Run) -> None:
    """In this process, or as one of those that torchrun describes. Two threads would round otherwise than one."""
    before, folder = torch.get_num_threads(), Path(run.folder)
    torch.set_num_threads(1)
    world = join(run.mode)  # type: ignore[arg-type]
    model = wiggle(new_model(TINY, 0))
    batches = Noise(model)
    shared = {"steps": run.steps, "clips": run.clips, "accumulate": run.accumulate, "warmup": 0, "log_every": 1}
    shared |= {"precision": "fp32", "lr": 1e-5}
    if run.task == "teacher":
        D = model.denoiser.requires_grad_(True)
        train_teacher(D, batches, TeacherTraining(**shared), (0.002, 200.0), folder, world)  # type: ignore[arg-type]
    else:
        shared |= {"optimizer": run.optimizer, "head_optimizer": run.optimizer}
        shared |= {"backbone_lora": run.backbone_lora, "shared": not run.backbone_lora, "no_sync": run.no_sync}
        how = StudentTraining(**shared, head_start=1, head_width=32, lr_heads=1e-4)  # type: ignore[arg-type]
        G = train_student(model.denoiser, batches, how, NoiseRange(0.002, 200.0), folder, world)
        if world.main:
            total = sum(float(p.detach().double().sum()) for p in G.parameters())
            (folder / "sum.json").write_text(json.dumps(total))
    torch.set_num_threads(before)


if __name__ == "__main__":
    faulthandler.enable()  # a native crash names its line
    for text in sys.argv[1:]:
        train(Run(**json.loads(text)))
    dist.destroy_process_group()
