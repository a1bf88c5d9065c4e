"""The network that tells stiff things from bending ones: a classifier over picture features that stand still.

Its features are begun as the picture tower's and kept: trained further they learn the few thousand pictures by heart
(LOG.md). What straight lines say is added at the end, by a regression on seven numbers; how much pictures move is
another regression, on features and lines.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import cast

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.optim import LBFGS, AdamW, Optimizer

from sfv.data.stiff_pictures import StiffPictures
from sfv.families.motion.stiffness import Stiffness
from sfv.families.motion.straight_lines import NUMBERS
from sfv.training.config import StiffnessTraining
from sfv.training.ema import EMA
from sfv.training.health import Rule
from sfv.training.logs import Logs
from sfv.training.loop import run
from sfv.training.seeds import Seeds
from sfv.types import RgbaPicture

RIDGE = 1e-3
"""Weight of squares in the regression."""
CALM = 2e-3
"""The same in that of motion, for each feature and loop; by leaving out families in turn (LOG.md)."""


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
            logits = self.network.by_features(torch.stack([p for p, _ in drawn]).to(self.device))
        loss = F.binary_cross_entropy_with_logits(logits, stiff)
        loss.backward()
        self.optimizers["adam"].step()
        self.optimizers["adam"].zero_grad(set_to_none=True)
        right = (logits.detach() > 0) == (stiff > 0)
        return {"loss": float(loss.detach()), "accuracy": float(right.float().mean())}


def train_stiffness(
    network: Stiffness,
    pictures: StiffPictures,
    config: StiffnessTraining,
    run_dir: Path,
    loops: Iterable[tuple[RgbaPicture, float]] = (),
) -> Stiffness:
    """Train (or resume); the averaged network. `loops` are pictures (1, 4, h, w), each with its loop's motion id."""
    task = StiffnessTask(network, pictures, config)
    run(task, config, run_dir, {"task": "stiffness", **config.model_dump()})
    task.averages["network"].into(network)
    network.eval().requires_grad_(False)
    if network.lines is not None:
        fit_lines(network, *pictures.plain(), config.passing)
    if network.motion is not None:
        fit_motion(network, loops)
    return network


@torch.no_grad()
def fit_lines(network: Stiffness, bending: Iterable[RgbaPicture], stiff: Iterable[RgbaPicture], passing: float) -> None:
    """Set how lines count, from pictures (1, 4, h, w): a logistic regression on their numbers alone, and the answer
    from features, each in units of its spread. By these two together a share `passing` of what
    bends is above 0.

    Together in one regression the features would count too much: they know these pictures by heart.
    """
    assert network.lines is not None
    kinds = [torch.stack([_numbers(network, picture) for picture in some]) for some in (bending, stiff)]
    x = torch.cat(kinds)
    middle, spread = x.mean(0), x.std(0).clamp(min=1e-6)
    x = (x - middle) / spread
    labels = torch.cat([torch.full((len(kind),), k, dtype=x.dtype) for k, kind in enumerate(kinds)])
    of_lines = regressed(x[:, :NUMBERS], labels)
    of_lines /= (x[:, :NUMBERS] @ of_lines).std().clamp(min=1e-6)
    weights = torch.cat([of_lines, torch.ones(1, dtype=x.dtype)])
    _put(network.lines, middle, spread, weights, -float((x[: len(kinds[0])] @ weights).quantile(1 - passing)))


@torch.no_grad()
def fit_motion(network: Stiffness, loops: Iterable[tuple[RgbaPicture, float]]) -> None:
    """Set how much pictures move, from pictures (1, 4, h, w) and their loops' motion ids: a ridge regression on
    features and the numbers of lines, each of the two kinds as strong however many there are."""
    assert network.motion is not None
    device = next(network.parameters()).device
    pairs = [(network.seen(picture.to(device))[0].double().cpu(), motion) for picture, motion in loops]
    x, y = torch.stack([seen for seen, _ in pairs]), torch.tensor([motion for _, motion in pairs], dtype=torch.float64)
    middle, spread = x.mean(0), x.std(0).clamp(min=1e-5)
    z = (x - middle) / spread
    kinds = z.shape[1] - NUMBERS
    price = torch.tensor([float(kinds)] * kinds + [float(NUMBERS)] * NUMBERS, dtype=z.dtype) * CALM * len(z)
    weights = torch.linalg.solve(z.T @ z + price.diag(), z.T @ (y - y.mean()))
    _put(network.motion, middle, spread, weights, 0.0)


def _put(part: nn.Sequential, middle: Tensor, spread: Tensor, weights: Tensor, bias: float) -> None:
    """Make a norm and a linear layer what a regression on (numbers - middle) / spread found."""
    norm, answer = cast(nn.BatchNorm1d, part[0]), cast(nn.Linear, part[1])
    assert norm.running_mean is not None and norm.running_var is not None
    norm.running_mean.copy_(middle)
    norm.running_var.copy_(spread.square())
    answer.weight.copy_(weights[None])
    answer.bias.fill_(bias)


def _numbers(network: Stiffness, picture: RgbaPicture) -> Float[Tensor, " eight"]:
    """What `lines` sees of one picture."""
    there = picture.to(next(network.parameters()).device)
    return torch.cat([network.seen(there)[0, -NUMBERS:], network.by_features(there)]).double().cpu()


@torch.enable_grad()
def regressed(x: Float[Tensor, "n k"], labels: Float[Tensor, " n"]) -> Float[Tensor, " k"]:
    """Weights of a logistic regression of labels 0 and 1 that count alike however many there are."""
    weights = torch.zeros(x.shape[1] + 1, dtype=x.dtype, requires_grad=True)
    counts = torch.where(labels == 1, 0.5 / labels.sum(), 0.5 / (1 - labels).sum())
    optimizer = LBFGS([weights], max_iter=200)

    def loss() -> float:
        optimizer.zero_grad()
        each = F.binary_cross_entropy_with_logits(x @ weights[1:] + weights[0], labels, reduction="none")
        value = (each * counts).sum() + RIDGE * weights[1:].square().sum()
        value.backward()  # type: ignore[no-untyped-call]
        return float(value.detach())

    optimizer.step(loss)
    return weights.detach()[1:]
