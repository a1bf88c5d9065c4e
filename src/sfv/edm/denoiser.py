"""The one idea: everything is a denoiser D(x; sigma, cond) in EDM units."""

from abc import ABC, abstractmethod
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn

from sfv.edm.preconditioning import Coefficients
from sfv.types import Cond, Features, Latents, Sigma


def per_clip(values: Tensor) -> Tensor:
    """(b,) -> (b, 1, 1, 1, 1), to multiply latents."""
    return values[:, None, None, None, None]


class Denoiser(nn.Module, ABC):
    """D(x; sigma, cond) -> estimate of the clean latents x0.

    A family supplies the coefficients, the network and its features; `forward` is final and is the formula.
    Arithmetic on x is fp32 whatever the network computes in: at sigma = 700, c_skip is 2e-6.
    """

    feature_channels: tuple[int, ...]
    """Channels of each map that `features` returns, in order."""
    embed_width = 0
    """Channels of `embedding`; 0 for a family without one."""

    @abstractmethod
    def coefficients(self, sigma: Sigma) -> Coefficients:
        """The family's preconditioning at each noise level."""

    @abstractmethod
    def network(self, x_in: Latents, c_noise: Tensor, cond: Cond) -> Latents:
        """F: the raw network on preconditioned input; shape in = shape out."""

    @abstractmethod
    def encode(self, x_in: Latents, c_noise: Tensor, cond: Cond) -> list[Features]:
        """Outputs of the network's downsampling blocks, each b f c h w; stops after the last."""

    def embedding(self, cond: Cond) -> Tensor | None:
        """(b, embed_width) of a condition, fp32: what a discriminator's heads see of it beside the features."""
        return None

    @property
    def dtype(self) -> torch.dtype:
        """What the network computes in."""
        return next(self.parameters()).dtype

    def learnable(self) -> list[nn.Parameter]:
        """Parameters that can have a gradient; a family leaves out those that cannot."""
        return list(self.parameters())

    def blocks(self) -> list[nn.Module]:
        """Parts that may be sharded or recomputed one by one; together they hold most weights."""
        return []

    def recompute(self) -> None:
        """From now on keep only the inputs of large units for the backward pass, if the family knows how."""

    def adapt(self, rank: int, over_time: bool = False) -> list[nn.Parameter]:
        """Freeze the network and give it low-rank adapters; returns them.

        `over_time`: also where frames are mixed without attention, in a family that does that.
        """
        raise NotImplementedError(f"{type(self).__name__} has no adapters")

    def plain(self) -> AbstractContextManager[None]:
        """The network as it was before `adapt`, inside the block."""
        return nullcontext()

    def adapter_state(self) -> dict[str, Tensor]:
        """The adapters alone, under published key names; empty without any."""
        return {}

    def merge(self) -> None:
        """Add the adapters into the weights and drop them, in place."""

    def forward(self, x: Latents, sigma: Sigma, cond: Cond) -> Latents:
        """x0_hat for noised latents x at noise level sigma."""
        x, sigma = x.float(), sigma.float()
        c = self.coefficients(sigma)
        raw = self.network(per_clip(c.c_in) * x, c.c_noise, cond).float()
        return per_clip(c.c_skip) * x + per_clip(c.c_out) * raw

    def features(self, x: Latents, sigma: Sigma, cond: Cond) -> list[Features]:
        """What the discriminator sees: encoder features of c_in * x at noise level sigma (SF-V Fig. 3)."""
        c = self.coefficients(sigma.float())
        return self.encode(per_clip(c.c_in) * x.float(), c.c_noise, cond)
