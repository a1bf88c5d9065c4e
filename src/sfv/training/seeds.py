"""Randomness that depends on the run's seed, the step and a clip's place in the global batch, and on nothing else.

So a run resumes to the bit, and one process draws the clips that two draw together. What all clips of a part share
(`Rngs.shared`: the size of videos) is drawn anew for each accumulated part, so there two parts are not two ranks.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

CPU = torch.device("cpu")


def generator(*key: int) -> torch.Generator:
    """A CPU generator that depends on every number of `key`."""
    seed = 0
    for part in key:
        seed = (seed * 6364136223846793005 + part + 1442695040888963407) % 2**63
    return torch.Generator().manual_seed(seed)


@dataclass(frozen=True)
class Rngs:
    """One generator per clip of a batch, and one that every rank has alike.

    `noise` is a generator on an accelerator, of which large noise is drawn there, a whole batch at once; without it
    every clip's noise comes from its own generator.
    """

    shared: torch.Generator
    each: tuple[torch.Generator, ...]
    noise: torch.Generator | None = None

    def __len__(self) -> int:
        return len(self.each)

    def copy(self) -> "Rngs":
        """Generators that will give what these will give."""
        noise = None if self.noise is None else self.noise.clone_state()
        return Rngs(self.shared.clone_state(), tuple(g.clone_state() for g in self.each), noise)

    def normal(self, *shape: int) -> Tensor:
        """(b, *shape) of unit Gaussian noise; one number a clip is always made on the CPU."""
        if self.noise is not None and shape:
            return torch.randn((len(self.each), *shape), generator=self.noise, device=self.noise.device)
        return torch.stack([torch.randn(shape, generator=g) for g in self.each])

    def uniform(self) -> Tensor:
        """(b,) in [0, 1)."""
        return torch.stack([torch.rand((), generator=g) for g in self.each])


@dataclass(frozen=True)
class Seeds:
    """Where randomness of one step comes from."""

    seed: int
    step: int
    rank: int = 0
    device: torch.device = CPU
    """Where a batch's noise is drawn: on a CPU by every clip's own generator, so that ranks may share a batch."""

    def one(self) -> torch.Generator:
        """For tasks that draw a batch from one generator."""
        return generator(self.seed, self.rank, self.step)

    def clips(self, count: int, part: int = 0, parts: int = 1) -> Rngs:
        """For `count` clips of this rank in part `part` of `parts` accumulated ones."""
        first = (self.rank * parts + part) * count
        each = tuple(generator(self.seed, self.step, 1 + first + i) for i in range(count))
        shared, noise = generator(self.seed, self.step, -1 - part), None
        if self.device.type != "cpu":
            seed = generator(self.seed, self.step, self.rank, part).initial_seed()
            noise = torch.Generator(self.device).manual_seed(seed)
        return Rngs(shared, each, noise)
