"""A small temporal decoder: a codec's latents -> pixels, quicker than the codec's own (docs/results/bench-full.json).

Plain residual blocks without normalisation that stop at half the picture's size, after TAESD (madebyollin/taesd),
each with a convolution over time. It stands beside the codec's own decoder, in the sub-folder `decoder`. A guided one
also sees the picture (decoding/guide.py).
"""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from torch import Tensor, nn

from sfv.decoding.folder import load_side_part, save_side_part
from sfv.decoding.guide import Guidance, Guide
from sfv.errors import SfvError
from sfv.types import Alpha, Latents, Picture, Pixels


class DecoderConfig(BaseModel):
    """Sizes; the stride is 2 ** len(widths)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    latent_channels: int = Field(gt=0, le=64)
    widths: tuple[int, ...] = Field(default=(128, 96, 64), min_length=1, max_length=5)
    """From the latents up."""
    depth: int | tuple[int, ...] = 3
    """Blocks at each size, or at every size."""
    guided: bool = False
    """By the picture."""
    joined: int | None = Field(default=None, ge=0)
    """Sizes, from the latents up, that see its features; all if None."""
    window: float = Field(default=0.0, ge=0, le=64)
    """Latents across which things move in one piece; 0: no such pieces."""

    @property
    def depths(self) -> tuple[int, ...]:
        """Blocks at each size, from the latents up."""
        return (self.depth,) * len(self.widths) if isinstance(self.depth, int) else self.depth

    @model_validator(mode="after")
    def _agree(self) -> "DecoderConfig":
        if self.window and (self.joined is None or self.joined >= len(self.widths) > 1):
            raise ValueError(
                f"window {self.window} needs joined below {len(self.widths)}: no flow is found at the finest"
            )
        if len(self.depths) != len(self.widths) or not all(0 < d <= 16 for d in self.depths):
            raise ValueError(f"depth {self.depth} must be 1 to 16 blocks for each of {len(self.widths)} sizes")
        return self


class Block(nn.Module):
    """Two 3x3 convolutions, then one over three frames, each a residual that starts at zero."""

    regions = ("forward",)
    """Methods that torch.compile takes on a GPU."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)
        self.time = nn.Conv2d(width, width, (3, 1), padding=(1, 0))
        for conv in (self.conv2, self.time):
            nn.init.zeros_(conv.weight)
            nn.init.zeros_(conv.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor, b: int) -> Tensor:
        """(b * f, c, h, w), channels-last -> the same."""
        spare = not torch.is_grad_enabled()
        u = self.conv2(F.relu(self.conv1(F.relu(x)), inplace=spare))
        x = u.add_(x) if spare and u.dtype == x.dtype else x + u
        n, c, h, w = x.shape
        rows = F.relu(x).permute(0, 2, 3, 1).reshape(b, n // b, h * w, c).permute(0, 3, 1, 2)
        t = self.time(rows).permute(0, 2, 3, 1).reshape(n, h, w, c).permute(0, 3, 1, 2)
        return t.add_(x) if spare else x + t


class Decoded(NamedTuple):
    """Frames, and a guided decoder's parts: the picture moved to each frame, how far each pixel is taken of it, and
    from where (b, f, 2, h, w), in pixels."""

    frames: Pixels
    moved: Pixels | None = None
    trust: Alpha | None = None
    flow: Tensor | None = None

    def wide(self) -> "Decoded":
        """The same in float32."""
        rest = (None if v is None else v.float() for v in self[1:])
        return Decoded(self.frames.float(), *rest)


class SmallDecoder(nn.Module):
    """Scaled latents (b, f, c, h, w) -> pixels in [-1, 1] (b, f, 3, h * stride, w * stride), not clamped."""

    compute: torch.dtype | None = None
    """What it computes in, where that differs from the weights (bf16 on CPUs that have it)."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.config = config
        widths = config.widths
        self.entry = nn.Conv2d(config.latent_channels, widths[0], 3, padding=1)
        self.levels = nn.ModuleList(
            nn.ModuleList(Block(w) for _ in range(d)) for w, d in zip(widths, config.depths, strict=True)
        )
        self.narrow = nn.ModuleList(nn.Conv2d(a, b, 1) for a, b in zip(widths, widths[1:], strict=False))
        self.exit = nn.Conv2d(widths[-1], 12, 3, padding=1)
        self.guide = Guide(widths, config.joined, config.window) if config.guided else None

    def begin_as(self, other: "SmallDecoder") -> None:
        """Take over another's weights wherever names and shapes agree: a guide may so be added to a trained decoder."""
        mine, theirs = self.state_dict(), other.state_dict()
        self.load_state_dict(mine | {k: v for k, v in theirs.items() if k in mine and mine[k].shape == v.shape})

    def locally_affine(self, window: float) -> "SmallDecoder":
        """The same decoder, whose flow moves whole pieces of about `window` latents; SfvError."""
        return _built(self.config.model_dump() | {"window": window}, self).to(self.entry.weight)

    @property
    def stride(self) -> int:
        """Pixels per latent, along one side."""
        return int(2 ** len(self.config.widths))

    def forward(self, latents: Latents, picture: Picture | None = None) -> Pixels:
        """All clips and frames together, from their first frame on; `picture` is that frame, for a guided decoder."""
        if self.guide is not None and picture is None:
            raise SfvError("this small decoder is guided by the picture: give it, or decode in full")
        return self.draw(latents, picture).frames

    def draw(self, latents: Latents, picture: Picture | None = None) -> Decoded:
        """The same, with what it was made of; without a picture, what is drawn from latents alone."""
        dtype = self.compute or self.entry.weight.dtype
        z = latents.to(self.entry.weight.dtype)
        with torch.autocast(z.device.type, dtype, enabled=dtype != z.dtype):
            parts = self._frames(z.flatten(0, 1), len(z), picture)
        return Decoded(*(v.float().unflatten(0, z.shape[:2]) for v in parts))

    def _frames(self, z: Tensor, b: int, picture: Picture | None) -> tuple[Tensor, ...]:
        """(b * f, c, h, w) -> (b * f, 3, y, x); a guided decoder's parts."""
        h = self.entry(z.contiguous(memory_format=torch.channels_last))
        guided = None if self.guide is None or picture is None else Guidance(self.guide, picture, z, b)
        for i, level in enumerate(self.levels):
            h = h if i == 0 else F.interpolate(self.narrow[i - 1](h), scale_factor=2)
            h = h if guided is None else guided.join(i, h)
            for block in level:  # type: ignore[attr-defined]
                h = block(h, b)
            if guided is not None:
                guided.correct(i, h)
        rgb = F.pixel_shuffle(self.exit(F.relu(h)), 2)
        return (rgb,) if guided is None else guided.compose(rgb, h)


class StagedDecoder(SmallDecoder):
    """A small decoder that something else runs."""

    run: Callable[..., Pixels]

    def forward(self, latents: Latents, picture: Picture | None = None) -> Pixels:
        """As the decoder's own."""
        return self.run(latents, picture)


def new_decoder(
    latent_channels: int,
    stride: int,
    seed: int,
    guided: bool = True,
    depth: tuple[int, ...] = (3, 3, 3),
    joined: int | None = None,
) -> SmallDecoder:
    """A fresh decoder for a codec's latents; SfvError for a stride that is no power of two, or impossible depths.

    `depth` is that of the finest sizes; coarser ones have the first of them. `joined` as in DecoderConfig.
    """
    levels = stride.bit_length() - 1
    if levels < 1 or stride != 1 << levels:
        raise SfvError(f"a small decoder needs a codec whose stride is a power of two, not {stride}")
    torch.manual_seed(seed)
    widths = (128,) * max(0, levels - 3) + (128, 96, 64)[-levels:]
    depth = (depth[0],) * max(0, levels - len(depth)) + depth[-levels:]
    sizes = {"latent_channels": latent_channels, "widths": widths, "guided": guided, "depth": depth, "joined": joined}
    return _built(sizes)


def _built(sizes: dict[str, object], like: SmallDecoder | None = None) -> SmallDecoder:
    """A decoder of these sizes, begun as another; SfvError for impossible ones."""
    try:
        decoder = SmallDecoder(DecoderConfig.model_validate(sizes))
    except ValidationError as error:
        raise SfvError(f"the small decoder cannot be made so: {error.errors()[0]['msg']}") from error
    if like is not None:
        decoder.begin_as(like)
    return decoder


def save_decoder(decoder: SmallDecoder, folder: Path, dtype: torch.dtype | None = None) -> None:
    """Write config.json and one safetensors file; `dtype` casts what is stored."""
    save_side_part(decoder, decoder.config, folder, dtype)


def load_decoder(folder: Path, dtype: torch.dtype, latent_channels: int, stride: int) -> SmallDecoder:
    """Open a decoder strictly; it must fit the codec's latents, and every weight must be a finite number."""
    decoder = load_side_part(folder, dtype, DecoderConfig, SmallDecoder, "small decoder")
    if (decoder.config.latent_channels, decoder.stride) != (latent_channels, stride):
        raise SfvError(f"{folder} decodes other latents than this model's codec makes; delete it or train it again")
    return decoder
