"""A training task of one generator and one optimiser; a subclass says what gradient a batch gives."""

from abc import ABC, abstractmethod

from torch import nn
from torch.optim import Adam, Optimizer

from sfv.training.config import ClipTraining
from sfv.training.ema import EMA
from sfv.training.health import Rule
from sfv.training.logs import Logs
from sfv.training.parallel import World, mean_of, share_gradients, split_groups, update
from sfv.training.seeds import Rngs, Seeds


class GeneratorTask(ABC):
    """What the loop drives; complete once `learns` was called."""

    rules: tuple[Rule, ...] = ()
    quiet_until = 0

    def __init__(self, config: ClipTraining, world: World) -> None:
        self.plan, self.world = config, world

    def learns(self, generator: nn.Module, params: list[nn.Parameter], lr: float, ema: float, beta: float) -> None:
        """Adam on `params` of the generator, with an average of it; `beta` is Adam's second."""
        self.params = params
        self.modules: dict[str, nn.Module] = {"generator": generator}
        self.optimizers: dict[str, Optimizer] = {"generator": Adam(split_groups(params), lr, (0.9, beta))}
        self.averages = {"generator": EMA(generator, ema, self.plan.average == "host")}

    def step(self, step: int, seeds: Seeds) -> Logs:
        """One update over `accumulate` batches."""
        parts = self.plan.accumulate
        logs = []
        for i in range(parts):
            share_gradients(self.modules.values(), i == parts - 1 or not self.plan.no_sync)
            logs.append(self._backward(seeds.clips(self.plan.clips, i, parts)))
        norm = update(self.params, self.optimizers["generator"], self.world, self.plan.clip)
        return mean_of(logs) | {"g_norm": norm}

    @abstractmethod
    def _backward(self, rngs: Rngs) -> Logs:
        """Add one batch's gradient, already divided by `accumulate`."""
