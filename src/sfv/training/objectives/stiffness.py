"""The network that tells stiff things from bending ones: a classifier over picture features that stand still.

Its features are begun as the picture tower's and kept: trained further they learn the few thousand pictures by heart
(LOG.md).
"""

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn
from torch.optim import AdamW, Optimizer

from sfv.data.stiff_pictures import StiffPictures
from sfv.families.motion.stiffness import Stiffness
from sfv.training.config import StiffnessTraining
from sfv.training.ema import EMA
from sfv.training.health import Rule
from sfv.training.logs import Logs
from sfv.training.loop import run
from sfv.training.seeds import Seeds


class StiffnessTask:
    """Binary cross-entropy on fresh pictures."""

    rules: tuple[Rule, ...] = ()
    quiet_until = 0

    def __init__(self, network: Stiffness, pictures: StiffPictures, config: StiffnessTraining) -> None:
        self.network, self.pictures, self.config = network.train(), pictures, config
        network.requires_grad_(True).pyramid.requires_grad_(False)
        learns = [p for p in network.parameters() if p.requires_grad]
        self.device = learns[0].device
        self.modules: dict[str, nn.Module] = {"network": network}
        self.optimizers: dict[str, Optimizer] = {"adam": AdamW(learns, lr=config.lr, weight_decay=config.weight_decay)}
        self.averages = {"network": EMA(network, config.ema)}

    def step(self, step: int, seeds: Seeds) -> Logs:
        """One update."""
        rng = seeds.one()
        drawn = [self.pictures.draw(rng) for _ in range(self.config.pictures)]
        stiff = torch.tensor([label for _, label in drawn], device=self.device)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(torch.randint(2**31, (), generator=rng)))  # of dropout: a resumed run is the same
            logits = self.network(torch.stack([p for p, _ in drawn]).to(self.device))
        loss = F.binary_cross_entropy_with_logits(logits, stiff)
        loss.backward()
        self.optimizers["adam"].step()
        self.optimizers["adam"].zero_grad(set_to_none=True)
        right = (logits.detach() > 0) == (stiff > 0)
        return {"loss": float(loss.detach()), "accuracy": float(right.float().mean())}


def train_stiffness(network: Stiffness, pictures: StiffPictures, config: StiffnessTraining, run_dir: Path) -> Stiffness:
    """Train (or resume); the averaged network."""
    task = StiffnessTask(network, pictures, config)
    run(task, config, run_dir, {"task": "stiffness", **config.model_dump()})
    task.averages["network"].into(network)
    return network.eval().requires_grad_(False)
