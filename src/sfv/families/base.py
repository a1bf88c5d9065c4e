"""What every family supplies: a denoiser, a codec and a conditioner. Knows no family."""

import hashlib
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from sfv.edm.denoiser import Denoiser
from sfv.settings import Defaults
from sfv.types import Cond, Latents, Picture, Pixels, RawLatents


class Codec(nn.Module, ABC):
    """Pixels <-> latents. Geometry is asked, never assumed."""

    decode_dtype: torch.dtype | None = None

    @abstractmethod
    def encode(self, pixels: Pixels) -> Latents:
        """Deterministic (posterior mode) scaled latents."""

    @abstractmethod
    def decode(self, latents: Latents, chunk: int | None = None) -> Pixels:
        """Pixels in [-1, 1] (not clamped). `chunk` frames at a time; None decodes all frames together."""

    @abstractmethod
    def posterior(self, pixels: Pixels) -> tuple[RawLatents, RawLatents]:
        """Mean and log-variance of the unscaled latents, for codec training."""

    @abstractmethod
    def decode_raw(self, raw: RawLatents) -> Pixels:
        """Decode unscaled latents, all frames together, for codec training."""

    @abstractmethod
    def normalise(self, mean: Tensor, std: Tensor) -> None:
        """Fold per-channel statistics of raw latents into the weights, so that they become 0 and 1."""

    @abstractmethod
    def latent_shape(self, frames: int, height: int, width: int) -> tuple[int, int, int, int]:
        """(f, c, h, w) of the latents of a clip; SfvError if the size cannot be made."""


class Conditioner(nn.Module, ABC):
    """A picture and knobs -> Cond."""

    @abstractmethod
    def embed(self, picture: Picture) -> Tensor:
        """The picture's semantic embedding for cross-attention, (b, tokens, channels)."""

    @abstractmethod
    def picture_tower(self) -> nn.Module:
        """The network behind `embed`, for training it."""

    @abstractmethod
    def forward(self, picture: Picture, **knobs: Any) -> Cond:
        """Everything the denoiser is told; unknown knobs raise SfvError."""

    @abstractmethod
    def around(self, codec: Codec) -> "Conditioner":
        """The same picture tower around another codec."""

    @abstractmethod
    def unconditional(self, cond: Cond) -> Cond:
        """The same with the picture taken away, for guidance and condition dropout."""


def fingerprint(module: nn.Module) -> str:
    """16 hex digits over every weight of a module: tells one codec's latents from another's."""
    digest = hashlib.sha256()
    for name, value in sorted(module.state_dict().items()):
        digest.update(name.encode() + value.detach().cpu().float().numpy().tobytes())
    return digest.hexdigest()[:16]


@dataclass(frozen=True)
class VideoModel:
    """A loaded model: three parts, the noise law it was trained under, its defaults and its weights' hash."""

    name: str
    family: str
    denoiser: Denoiser
    codec: Codec
    conditioner: Conditioner
    sigma_min: float
    sigma_max: float
    rho: float
    defaults: Defaults
    hash: str

    @property
    def device(self) -> torch.device:
        """Where the weights lie."""
        return next(self.denoiser.parameters()).device

    def to(self, device: torch.device | str) -> "VideoModel":
        """Move all three parts in place and return the model."""
        for part in (self.denoiser, self.codec, self.conditioner):
            part.to(device)
        return self
