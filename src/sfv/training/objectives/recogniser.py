"""A small video network learns to recognise, from clips spoilt on purpose, what was done and how strongly.

Beside that it names the clip's family, so that its rows also know what is shown.
"""

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Optimizer

from sfv.data.stickers import Clip, ClipStore, by_family, over_background, random_background, random_placement
from sfv.measures.corruptions import FAULTS
from sfv.measures.recogniser import ROW, Recogniser, prepare
from sfv.media.pixels import to_frames
from sfv.system.device import bf16_autocast
from sfv.training.config import RecogniserTraining
from sfv.training.ema import EMA
from sfv.training.health import Rule
from sfv.training.logs import Logs
from sfv.training.loop import run
from sfv.training.optimizers import Muon
from sfv.training.seeds import CPU, Seeds
from sfv.types import Frames


class RecogniserTask:
    """The network and a family classifier, which is thrown away."""

    rules: tuple[Rule, ...] = ()
    quiet_until = 0

    def __init__(self, store: ClipStore, config: RecogniserTraining) -> None:
        self.store, self.config = store, config
        self.families = by_family(store.split("train"))
        torch.manual_seed(config.seed)
        self.network = Recogniser()
        self.classifier = nn.Linear(ROW, len(self.families))
        both = [*self.network.parameters(), *self.classifier.parameters()]
        self.modules: dict[str, nn.Module] = {"network": self.network, "classifier": self.classifier}
        self.optimizers: dict[str, Optimizer] = {"muon": Muon(both, config.lr)}
        self.averages: dict[str, EMA] = {}

    def step(self, step: int, seeds: Seeds) -> Logs:
        """One update on fresh clips, each with its own faults."""
        rng = seeds.one()
        drawn = [self._draw(rng) for _ in range(self.config.clips)]
        clips, strengths, families = zip(*drawn, strict=True)
        with bf16_autocast(CPU, self.config.precision == "bf16"):
            rows = self.network.rows(torch.cat([prepare(c) for c in clips])).float()
        strengths_found = self.network.strengths(rows)
        wrong = F.mse_loss(strengths_found, torch.stack(strengths))
        named = F.cross_entropy(self.classifier(rows), torch.tensor(families))
        (wrong + self.config.naming * named).backward()
        self.optimizers["muon"].step()
        self.optimizers["muon"].zero_grad(set_to_none=True)
        return {"loss": float(wrong.detach()), "naming": float(named.detach())}

    def _draw(self, rng: torch.Generator) -> tuple[Frames, Tensor, int]:
        """A clip with some faults, how strong each is (0 for none), and the place of its family."""
        family = int(torch.randint(len(self.families), (), generator=rng))
        members = self.families[family]
        clip = members[int(torch.randint(len(members), (), generator=rng))]
        frames = self._frames(clip, rng)
        strengths = torch.rand(len(FAULTS), generator=rng)
        strengths *= torch.rand(len(FAULTS), generator=rng) < self.config.faulty
        for strength, (name, fault) in zip(strengths.tolist(), FAULTS.items(), strict=True):
            if strength:
                frames = fault(frames, 1.0 if name == "reversed" else strength, rng)
        return frames, torch.where(strengths > 0, strengths, 0).float(), family

    def _frames(self, clip: Clip, rng: torch.Generator) -> Frames:
        """Mostly from the rest pose, placed anew, mostly on white."""
        rest, placed = torch.rand(2, generator=rng).tolist()
        first = 0 if rest < 0.7 else int(torch.randint(clip.count, (), generator=rng))
        rgba = self.store.rgba(clip, first, self.config.frames, self.store.fps // self.config.fps)
        rgba = random_placement(rgba, rng) if placed < 0.4 else rgba
        return to_frames(over_background(rgba, random_background(self.store.size, rng, plain=0.8))[None])


def train_recogniser(store: ClipStore, config: RecogniserTraining, run_dir: Path) -> Recogniser:
    """Train (or resume) and return the network."""
    task = RecogniserTask(store, config)
    run(task, config, run_dir, {"task": "recogniser", **config.model_dump()})
    return task.network.eval()
