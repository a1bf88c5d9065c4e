"""What every family supplies: a denoiser, a codec and a conditioner. Knows no family."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sfv.decoding.decoder import Decoded, SmallDecoder
from sfv.decoding.matte import Matte
from sfv.edm.denoiser import Denoiser
from sfv.edm.noise import NoiseRange
from sfv.edm.sampling import flow_sigmas, karras_sigmas
from sfv.errors import SfvError
from sfv.limits import ModelLimits
from sfv.settings import Decoder, Defaults
from sfv.types import AnyFirst, AnyPixels, Cond, Latents, Picture, Pixels, RawLatents, Softness


class Codec(nn.Module, ABC):
    """Pixels <-> latents. Geometry is asked, never assumed."""

    decode_dtype: torch.dtype | None = None
    encode_dtype: torch.dtype | None = None
    """What they compute in, where that differs from the weights (bf16 on CPUs that have it)."""
    channels = 3
    """Of pixels: 3 for RGB, 4 for RGBA whose colours are multiplied with alpha; all in [-1, 1]."""
    conditioned = False
    """Whether latents hold what changes from the clip's first frame, the picture, which `decode` then needs."""
    multiple: int | None = None
    """Height and width are multiples of it, where that is more than the pixels of one latent."""
    frame_stride = 1
    """Frames that share one latent, but for the first, which has its own."""

    @abstractmethod
    def encode(self, pixels: AnyPixels) -> Latents:
        """Deterministic (posterior mode) scaled latents; a conditioned codec takes the first frame for the picture."""

    @abstractmethod
    def decode(self, latents: Latents, chunk: int | None = None, picture: AnyFirst | None = None) -> AnyPixels:
        """Pixels in [-1, 1] (not clamped). `chunk` frames at a time; None decodes all frames together."""

    @abstractmethod
    def latent_shape(self, frames: int, height: int, width: int) -> tuple[int, int, int, int]:
        """(f, c, h, w) of the latents of a clip; SfvError if the size cannot be made."""


class FrameCodec(Codec):
    """An autoencoder of frames, as SVD's: its latents hold every frame whole."""

    @abstractmethod
    def posterior(self, pixels: Pixels) -> tuple[RawLatents, RawLatents]:
        """Mean and log-variance of the unscaled latents, for codec training."""

    @abstractmethod
    def decode_raw(self, raw: RawLatents) -> Pixels:
        """Decode unscaled latents, all frames together, for codec training."""

    @abstractmethod
    def normalise(self, mean: Tensor, std: Tensor) -> None:
        """Fold per-channel statistics of raw latents into the weights, so that they become 0 and 1."""


class MovingCodec(Codec):
    """A conditioned codec, whose decoder moves the picture's own pixels and draws the rest."""

    conditioned = True
    encoder: nn.Module
    """What makes latents: as long as it stands still, so do they."""

    @abstractmethod
    def draw(self, latents: Latents, picture: AnyFirst, softness: Softness | None = None) -> Decoded:
        """Frames, and what they are made of; `softness` is how sure it is that a thing bends."""


BENDS = (-1.0, -1.2)
"""Logits of being stiff below which a thing is taken to bend, and from which on that is sure."""


def softness(logit: Float[Tensor, " b"]) -> Softness:
    """How sure it is that a thing bends, by its logit of being stiff."""
    unsure, sure = BENDS
    return ((logit - unsure) / (sure - unsure)).clamp(0, 1)


class Judge(nn.Module, ABC):
    """What is known of a picture before it moves."""

    @abstractmethod
    def judged(self, pictures: AnyFirst) -> tuple[Tensor, Tensor]:
        """(b, 4, h, w) in [-1, 1] -> the logit of being a stiff thing, and by how many motion ids such pictures move
        more than the usual one; (b,) each."""


class Conditioner(nn.Module, ABC):
    """A picture and knobs -> Cond."""

    noised = True
    """Whether the picture may be noised (noise_aug)."""
    lively = True
    """Whether it takes how much moves (motion)."""
    prompted = False
    """Whether it reads words (prompt)."""

    @abstractmethod
    def embed(self, picture: AnyFirst) -> Tensor:
        """The picture's semantic embedding for cross-attention, (b, tokens, channels)."""

    @abstractmethod
    def picture_tower(self) -> nn.Module:
        """The network behind `embed`, for training it."""

    @abstractmethod
    def forward(self, picture: AnyFirst, **knobs: Any) -> Cond:
        """Everything the denoiser knows of a clip beside its noised latents; unknown knobs raise SfvError."""

    def from_encoded(
        self,
        pictures: Picture,
        embeds: Tensor,
        fps: Tensor,
        motion: Tensor,
        z: Tensor,
        n: Pixels,
        louder: Tensor,
        x0: Latents,
    ) -> Cond:
        """The condition of training clips whose pictures (b, 3, h, w) were embedded before.

        `fps`, `motion` and `louder` (b,); `z` (b,) and `n` (b, 1, 3, h, w) are unit noise, for a family that noises its
        condition; `x0` are the clips' latents, for one whose first latents are the picture's. SfvError for a family
        that learns from clip stores alone.
        """
        raise SfvError(f"{type(self).__name__} learns from pictures, not from latent shards; train on a clip store")

    @abstractmethod
    def with_knobs(self, cond: Cond, **knobs: Any) -> Cond:
        """The same picture and noise under other fps and motion: nothing is encoded again."""

    @abstractmethod
    def around(self, codec: Codec) -> "Conditioner":
        """The same picture tower around another codec."""

    @abstractmethod
    def unconditional(self, cond: Cond) -> Cond:
        """The same with the picture taken away, for guidance and condition dropout."""

    def guidance_over_frames(self, guidance: float, frames: int) -> Tensor:
        """Guidance of each frame, (f,): rising evenly from 1 at the first to `guidance` at the last, as SVD's."""
        return torch.linspace(1, guidance, frames)

    @torch.no_grad()
    def spread(self, cond: Cond) -> float | None:
        """`apart` of the tensors that hold anything of the pictures; None for one clip."""
        without = self.unconditional(cond)
        return apart([v for k, v in cond.items() if not torch.equal(v, without[k])])


@torch.no_grad()
def apart(tensors: Sequence[Tensor]) -> float | None:
    """How far apart clips (b, ...) are, as a share of their size: the least of some tensors; None for one clip."""
    several = [v.float() for v in tensors if len(v) > 1]
    return min((float(v.std(0).mean() / v.abs().mean().clamp(min=1e-12)) for v in several), default=None)


def fingerprint(module: nn.Module, dtype: torch.dtype = torch.float32) -> str:
    """16 hex digits over every weight of a module, as `dtype` holds it: tells one codec's latents from another's."""
    digest = hashlib.sha256()
    for name, value in sorted(module.state_dict().items()):
        digest.update(name.encode() + value.detach().cpu().to(dtype).float().numpy().tobytes())
    return digest.hexdigest()[:16]


def sketch(networks: Sequence[nn.Module], each: int = 256) -> str:
    """16 hex digits over the name, shape and about `each` evenly spread numbers of every weight: tells one model from
    another in a moment, however large they are."""
    digest = hashlib.sha256()
    for i, network in enumerate(networks):
        for name, value in sorted(network.state_dict().items()):
            some = value.detach().flatten()[:: max(1, value.numel() // each)].cpu().float()
            digest.update(f"{i}.{name}{tuple(value.shape)}".encode() + some.numpy().tobytes())
    return digest.hexdigest()[:16]


@dataclass(frozen=True)
class VideoModel:
    """A loaded model: three parts, the noise levels it was trained under, its defaults and its weights' hash.

    `small` is a quicker decoder of the same latents, `matte` makes clips transparent, `stiffness` says of pictures
    (b, 4, h, w) whether they are of stiff things (a logit, above 0), for models that have them.
    Clips of a model that `loops` are one whole round: the frame after the last is the first.
    """

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
    loops: bool = False
    flow_shift: float | None = None
    """By which a flow's steps lie nearer to noise; None: steps lie on Karras's grid (`sigmas`)."""
    small: SmallDecoder | None = None
    matte: Matte | None = None
    stiffness: Judge | None = None
    speed: dict[str, str] = field(default_factory=dict)
    """Profile, precision and every stage's backend, for a model that went through `sfv.optimize`."""

    @property
    def noise_range(self) -> NoiseRange:
        """The levels it was trained under."""
        return NoiseRange(self.sigma_min, self.sigma_max, self.rho)

    def sigmas(self, steps: int) -> Tensor:
        """Euler's noise levels, descending to a final 0, (steps + 1,); one step starts where students are trained."""
        if self.flow_shift is None or steps == 1:
            return karras_sigmas(steps, *self.noise_range)
        return flow_sigmas(steps, self.flow_shift)

    @property
    def device(self) -> torch.device:
        """Where the weights lie."""
        return next(self.denoiser.parameters()).device

    def to(self, device: torch.device | str) -> "VideoModel":
        """Move all parts in place and return the model."""
        for part in (self.denoiser, self.codec, self.conditioner, self.small, self.matte, self.stiffness):
            if part is not None:
                part.to(device)
        return self

    @property
    def limits(self) -> ModelLimits:
        """What it can make."""
        defaults, moving = self.defaults, isinstance(self.codec, MovingCodec)
        decoders: tuple[Decoder, ...] = ("full",) if self.small is None else ("small", "full")
        guided = self.small is not None and self.small.guide is not None
        return ModelLimits(
            name=self.name,
            defaults=defaults,
            stride=self.codec.multiple
            or defaults.height // self.codec.latent_shape(defaults.frames, defaults.height, defaults.width)[2],
            frame_stride=self.codec.frame_stride,
            decoders=decoders,
            enlarging=decoders if moving else ("small",) if guided else (),
            clear=self.codec.channels == 4 or self.matte is not None,
            loops=self.loops,
            noised=self.conditioner.noised and not self.codec.conditioned,
            lively=self.conditioner.lively,
            prompted=self.conditioner.prompted,
        )

    def decoder(self, want: str | None) -> str:
        """The decoder that is meant: small where there is one, unless full is asked for."""
        return self.limits.decoder(want)

    def enlarges(self, decoder: str | None = None) -> bool:
        """Whether the decoder that is meant moves the picture, so that a larger one may be moved likewise."""
        return self.decoder(decoder) in self.limits.enlarging

    def draw(self, latents: Latents, picture: AnyFirst, softness: Softness | None = None) -> Decoded:
        """What the decoder that moves the picture makes, and of what; in eager mode. For models that have one."""
        if isinstance(self.codec, MovingCodec):
            return self.codec.draw(latents, picture, softness)
        if self.small is None:
            raise SfvError(f"{self.name} has no small decoder to draw with")
        return self.small.draw(latents, picture)

    def decode(self, latents: Latents, picture: AnyFirst | None = None, decoder: str | None = None) -> AnyPixels:
        """Pixels in [-1, 1] (not clamped), by the decoder that is meant; a clip does not depend on its batch.

        `picture` is what the clips were made of; a guided small decoder and a conditioned codec need it.
        """
        if self.decoder(decoder) == "full" or self.small is None:
            return self.codec.decode(latents, picture=picture)
        pictures = [None] * len(latents) if picture is None else picture.split(1)
        return torch.cat([self.small(z, p) for z, p in zip(latents.split(1), pictures, strict=True)])
