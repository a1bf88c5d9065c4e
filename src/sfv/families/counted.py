"""What a family must say of a model so that its clips and its training can be counted, without weights."""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from sfv.edm.denoiser import Denoiser
from sfv.families.base import Codec
from sfv.types import Cond, Latents

Role = Literal["enter", "step", "guided", "leave"]
"""Before the sampler, one of its steps without guidance or with it, after it."""


class Call(NamedTuple):
    """One network of a clip, and a call of it on the meta device in 16 bits."""

    name: str
    role: Role
    network: nn.Module
    """Whose weights are counted."""
    plain: Callable[[], object]
    """As diffusers computes it."""
    rewritten: Callable[[], object]
    """As `sfv generate` does."""


@runtime_checkable
class Shapes(Protocol):
    """A dataclass of configurations, and of the clips' frames, height and width, which `replace` may change."""

    @property
    def frames(self) -> int:
        """Of a clip."""
        ...

    @property
    def height(self) -> int:
        """In pixels."""
        ...

    @property
    def width(self) -> int:
        """In pixels."""
        ...

    @property
    def stride(self) -> int:
        """Height and width are multiples of it."""
        ...

    def generates(self) -> tuple[int, int]:
        """Height and width of its clips, where its students are trained on smaller ones."""
        ...

    def denoiser(self) -> Denoiser:
        """On the meta device: shapes without memory."""
        ...

    def codec(self) -> Codec:
        """The autoencoder on the meta device; it lies on the card too while a model is trained."""
        ...

    def latents(self, clips: int, frames: int | None = None) -> Latents:
        """Empty latents of clips of its size, or of so many latent frames, on the meta device."""
        ...

    def cond(self, clips: int) -> Cond:
        """An empty condition of such clips, on the meta device."""
        ...

    def calls(self) -> list[Call]:
        """Every network's call for one clip."""
        ...


def halved(network: nn.Module) -> Any:
    """In 16 bits, by torch's own `to`: diffusers' would print advice about real weights."""
    return nn.Module.to(network, torch.float16)


def half(*shape: int) -> Tensor:
    """An empty tensor on the meta device in 16 bits."""
    return torch.empty(*shape, device="meta", dtype=torch.float16)
