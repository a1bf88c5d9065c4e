"""SVD's UNet (2311.15127, section 4.1): Stable Diffusion 2.1's with blocks over time after those in space.

Numbers, names of weights and fields of config.json are diffusers' UNetSpatioTemporalConditionModel's.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from sfv.families.framewise import active
from sfv.families.svd.blocks import (
    Downsample,
    Embedding,
    SpatioTemporalResBlock,
    SpatioTemporalTransformer,
    Upsample,
    sinusoids,
)
from sfv.families.svd.network import Network, NetworkConfig, each

Down = Literal["CrossAttnDownBlockSpatioTemporal", "DownBlockSpatioTemporal"]
Up = Literal["CrossAttnUpBlockSpatioTemporal", "UpBlockSpatioTemporal"]
DOWN: tuple[Down, Down] = ("CrossAttnDownBlockSpatioTemporal", "DownBlockSpatioTemporal")
"""With transformers, and without."""
UP: tuple[Up, Up] = ("CrossAttnUpBlockSpatioTemporal", "UpBlockSpatioTemporal")


class UNetConfig(NetworkConfig):
    """config.json; the defaults are SVD-XT's own."""

    sample_size: int | None = None
    """Side of the latents that it was trained on."""
    in_channels: int = Field(default=8, gt=0)
    out_channels: int = Field(default=4, gt=0)
    down_block_types: tuple[Down, ...] = (*DOWN[:1] * 3, DOWN[1])
    up_block_types: tuple[Up, ...] = (UP[1], *UP[:1] * 3)
    block_out_channels: tuple[int, ...] = (320, 640, 1280, 1280)
    addition_time_embed_dim: int = Field(default=256, gt=0)
    """Channels of each time id."""
    projection_class_embeddings_input_dim: int = Field(default=768, gt=0)
    """Of all time ids."""
    layers_per_block: int | tuple[int, ...] = 2
    cross_attention_dim: int | tuple[int, ...] = 1024
    transformer_layers_per_block: int | tuple[int, ...] = 1
    num_attention_heads: int | tuple[int, ...] = (5, 10, 20, 20)
    num_frames: int = Field(default=25, gt=0)

    @model_validator(mode="after")
    def _of_one_depth(self) -> "UNetConfig":
        blocks = len(self.block_out_channels)
        for name in ("down_block_types", "up_block_types", "layers_per_block", "cross_attention_dim"):
            value = getattr(self, name)
            if isinstance(value, tuple) and len(value) != blocks:
                raise ValueError(f"{name} has {len(value)} entries for {blocks} blocks")
        return self

    @property
    def context(self) -> int:
        """Channels of the picture's token."""
        return each(self.cross_attention_dim, 1)[0]


@dataclass(frozen=True)
class Attending:
    """Sizes of a block's transformers."""

    heads: int
    layers: int
    context: int

    def transformer(self, channels: int) -> SpatioTemporalTransformer:
        """A fresh one."""
        return SpatioTemporalTransformer(channels, self.heads, self.layers, self.context)


class DownBlock(nn.Module):
    """Residual blocks, each with a transformer after it where the block attends, and a downsampling."""

    def __init__(
        self, channels: int, out: int, embed: int, layers: int, down: bool, attending: Attending | None
    ) -> None:
        super().__init__()
        eps = 1e-6 if attending else 1e-5
        self.attentions, self.resnets = _pairs([channels, *[out] * (layers - 1)], out, embed, eps, attending)
        self.downsamplers = nn.ModuleList([Downsample(out)] if down else [])

    def forward(self, h: Tensor, embedding: Any, context: Tensor, b: int) -> tuple[Tensor, tuple[Tensor, ...]]:
        """(b * f, c, h, w) -> the same, smaller, and the maps that the up path reads."""
        skips: tuple[Tensor, ...] = ()
        for i, resnet in enumerate(self.resnets):
            h = resnet(h, embedding, b)
            h = self.attentions[i](h, context, b) if self.attentions else h
            skips += (h,)
        for downsample in self.downsamplers:
            h = downsample(h)
            skips += (h,)
        return h, skips


class MidBlock(nn.Module):
    """Residual block, transformer, residual block."""

    def __init__(self, channels: int, embed: int, attending: Attending) -> None:
        super().__init__()
        first = SpatioTemporalResBlock(channels, channels, embed, 1e-5)
        self.attentions = nn.ModuleList([attending.transformer(channels)])
        self.resnets = nn.ModuleList([first, SpatioTemporalResBlock(channels, channels, embed, 1e-5)])

    def forward(self, h: Tensor, embedding: Any, context: Tensor, b: int) -> Tensor:
        """(b * f, c, h, w) -> the same."""
        h = self.attentions[0](self.resnets[0](h, embedding, b), context, b)
        out: Tensor = self.resnets[1](h, embedding, b)
        return out


class UpBlock(nn.Module):
    """Residual blocks that read the down path's maps, each with a transformer where the block attends, and an
    upsampling."""

    def __init__(self, channels: list[int], out: int, embed: int, up: bool, attending: Attending | None) -> None:
        super().__init__()
        self.attentions, self.resnets = _pairs(channels, out, embed, 1e-6, attending)
        self.upsamplers = nn.ModuleList([Upsample(out)] if up else [])

    def forward(
        self,
        h: Tensor,
        skips: tuple[Tensor, ...],
        embedding: Any,
        context: Tensor,
        b: int,
        size: tuple[int, int] | None,
    ) -> Tensor:
        """(b * f, c, h, w), and maps of the down path of which the last is read first, -> the same, larger."""
        for i, resnet in enumerate(self.resnets):
            h = resnet(torch.cat([h, skips[-1 - i]], 1), embedding, b)
            h = self.attentions[i](h, context, b) if self.attentions else h
        for upsample in self.upsamplers:
            h = upsample(h, size)
        return h


def _pairs(
    channels: list[int], out: int, embed: int, eps: float, attending: Attending | None
) -> tuple[nn.ModuleList, nn.ModuleList]:
    """Transformers (or none) and residual blocks, made by turns, so that a seed makes diffusers' fresh weights."""
    resnets, attentions = [], []
    for width in channels:
        resnets.append(SpatioTemporalResBlock(width, out, embed, eps))
        attentions += [attending.transformer(out)] if attending else []
    return nn.ModuleList(attentions), nn.ModuleList(resnets)


class UNet(Network):
    """The network of SVD's denoiser."""

    Config = UNetConfig
    config: UNetConfig

    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        self.config = config
        widths, last = config.block_out_channels, len(config.block_out_channels) - 1
        embed = 4 * widths[0]
        self.conv_in = nn.Conv2d(config.in_channels, widths[0], 3, padding=1)
        self.time_embedding = Embedding(widths[0], embed, embed)
        self.add_embedding = Embedding(config.projection_class_embeddings_input_dim, embed, embed)
        self.down_blocks, self.up_blocks = nn.ModuleList(), nn.ModuleList()
        layers, attending = each(config.layers_per_block, last + 1), _attending(config)
        for i, kind in enumerate(config.down_block_types):
            here = attending[i] if kind.startswith("Cross") else None
            self.down_blocks.append(DownBlock(widths[max(i - 1, 0)], widths[i], embed, layers[i], i < last, here))
        self.mid_block = MidBlock(widths[-1], embed, attending[-1])
        for i, up_kind in zip(range(last, -1, -1), config.up_block_types, strict=True):
            here = attending[i] if up_kind.startswith("Cross") else None
            self.up_blocks.append(UpBlock(_read(widths, i, layers[i] + 1), widths[i], embed, i > 0, here))
        self.conv_norm_out = nn.GroupNorm(32, widths[0], eps=1e-5)
        self.conv_out = nn.Conv2d(widths[0], config.out_channels, 3, padding=1)

    def theirs(self) -> str:
        """In diffusers."""
        return "UNetSpatioTemporalConditionModel"

    def forward(
        self, sample: Tensor, timestep: Tensor, encoder_hidden_states: Tensor, added_time_ids: Tensor
    ) -> Tensor:
        """(b, f, c, h, w), (b,), (b, m, e), (b, 3) -> (b, f, o, h, w)."""
        (b, f), context = sample.shape[:2], encoder_hidden_states
        embedding = self.embed(timestep, added_time_ids)
        h = self.enter(sample)
        skips: tuple[Tensor, ...] = (h,)
        for block_out, more in self.down(h, embedding, context):
            h, skips = block_out, skips + more
        h = self.mid_block(h, embedding, context, b)
        odd = any(side % 2 ** len(self.up_blocks[1:]) for side in sample.shape[-2:])
        blocks: Any = self.up_blocks
        for block in blocks:
            used, skips = skips[-len(block.resnets) :], skips[: -len(block.resnets)]
            size = skips[-1].shape[2:] if skips and odd else None  # a side that does not come back whole from halving
            h = block(h, used, embedding, context, b, size)
        h = self.conv_out(active(self.conv_norm_out, h, False))
        return h.unflatten(0, (b, f))

    def enter(self, sample: Tensor) -> Tensor:
        """(b, f, c, h, w) -> (b * f, o, h, w)."""
        out: Tensor = self.conv_in(sample.flatten(0, 1))
        return out

    def down(self, h: Tensor, embedding: Any, context: Tensor) -> Iterator[tuple[Tensor, tuple[Tensor, ...]]]:
        """Each down block's map, and those that the up path reads, one block at a time."""
        for block in self.down_blocks:
            h, skips = block(h, embedding, context, len(context))
            yield h, skips

    def embed(self, timestep: Tensor, ids: Tensor) -> Any:
        """Noise levels (b,) or () and ids (b, 3) -> their embedding, (b, e)."""
        dtype, b = self.conv_in.weight.dtype, len(ids)
        level = sinusoids(timestep.expand(b), self.config.block_out_channels[0]).to(dtype)
        places = sinusoids(ids.flatten(), self.config.addition_time_embed_dim).reshape(b, -1).to(dtype)
        return self.time_embedding(level) + self.add_embedding(places)


def _attending(config: UNetConfig) -> list[Attending]:
    """Of every block."""
    values = (config.num_attention_heads, config.transformer_layers_per_block, config.cross_attention_dim)
    return [Attending(*v) for v in zip(*(each(v, len(config.block_out_channels)) for v in values), strict=True)]


def _read(widths: tuple[int, ...], i: int, layers: int) -> list[int]:
    """Channels that each residual block of level `i`'s up block reads: what it holds, and a map of the down path."""
    held = [widths[min(i + 1, len(widths) - 1)], *[widths[i]] * (layers - 1)]
    skips = [*[widths[i]] * (layers - 1), widths[max(i - 1, 0)]]
    return [a + b for a, b in zip(held, skips, strict=True)]
