"""SVD's autoencoder (2311.15127, appendix D): Stable Diffusion's encoder, and a decoder that also looks along time.

Numbers, names of weights and fields of config.json are diffusers' AutoencoderKLTemporalDecoder's. Frame-wise layers
take a few frames at a time (framewise.py), so that memory does not grow with the clip.
"""

from typing import Any, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from sfv.families.framewise import AT_MOST, across_space, active, along_time, flat_conv, frame_wise
from sfv.families.svd.blocks import Downsample, ResBlock, SpatioTemporalResBlock, Upsample
from sfv.families.svd.network import Network, NetworkConfig

EPS = 1e-6
EncoderType = Literal["DownEncoderBlock2D"]
DOWN_ENCODER: tuple[EncoderType, ...] = ("DownEncoderBlock2D",)
"""Type of one level's block."""


class AutoencoderConfig(NetworkConfig):
    """config.json; the defaults are diffusers'."""

    in_channels: int = Field(default=3, gt=0)
    out_channels: int = Field(default=3, gt=0)
    down_block_types: tuple[EncoderType, ...] = DOWN_ENCODER
    block_out_channels: tuple[int, ...] = (64,)
    layers_per_block: int = Field(default=1, gt=0)
    latent_channels: int = Field(default=4, gt=0)
    sample_size: int = 32
    scaling_factor: float = 0.18215
    force_upcast: bool = True
    """Whether the encoder overflows in float16."""


class MapAttention(nn.Module):
    """One head of all channels over the positions of each map, after a norm, added to what came."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.group_norm = nn.GroupNorm(32, channels, EPS)
        self.to_q, self.to_k, self.to_v = (nn.Linear(channels, channels) for _ in range(3))
        self.to_out = nn.ModuleList([nn.Linear(channels, channels)])

    def forward(self, maps: Tensor) -> Tensor:
        """(n, c, h, w) -> (n, c, h, w)."""
        tokens = self.group_norm(maps).flatten(2).transpose(1, 2)
        q, k, v = (layer(tokens)[:, None] for layer in (self.to_q, self.to_k, self.to_v))
        mixed = F.scaled_dot_product_attention(q, k, v)[:, 0]
        out: Tensor = self.to_out[0](mixed).transpose(1, 2).reshape(maps.shape) + maps
        return out


class EncoderBlock(nn.Module):
    """Residual blocks and a downsampling."""

    regions = ("forward",)
    """Methods that torch.compile takes on a GPU."""

    def __init__(self, channels: int, out: int, layers: int, down: bool) -> None:
        super().__init__()
        self.resnets = nn.ModuleList([ResBlock(channels if i == 0 else out, out, None, EPS) for i in range(layers)])
        self.downsamplers = nn.ModuleList([Downsample(out, padding=0)] if down else [])

    def forward(self, h: Tensor) -> Tensor:
        """(n, c, h, w) -> (n, o, h / 2, w / 2)."""
        for layer in (*self.resnets, *self.downsamplers):
            h = layer(h)
        return h


class EncoderMid(nn.Module):
    """Residual block, attention, residual block."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        first = ResBlock(channels, channels, None, EPS)
        self.attentions = nn.ModuleList([MapAttention(channels)])
        self.resnets = nn.ModuleList([first, ResBlock(channels, channels, None, EPS)])

    def forward(self, h: Tensor) -> Tensor:
        """(n, c, h, w) -> the same."""
        out: Tensor = self.resnets[1](self.attentions[0](self.resnets[0](h)))
        return out


class Encoder(nn.Module):
    """Frames alone, to mean and log-variance."""

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        widths = config.block_out_channels
        self.conv_in = nn.Conv2d(config.in_channels, widths[0], 3, padding=1)
        self.down_blocks = nn.ModuleList()
        for i, out in enumerate(widths):
            down = i < len(widths) - 1
            self.down_blocks.append(EncoderBlock(widths[max(i - 1, 0)], out, config.layers_per_block, down))
        self.mid_block = EncoderMid(widths[-1])
        self.conv_norm_out = nn.GroupNorm(32, widths[-1], EPS)
        self.conv_out = nn.Conv2d(widths[-1], 2 * config.latent_channels, 3, padding=1)

    def forward(self, frames: Tensor) -> Tensor:
        """(n, 3, h, w) -> (n, 2 c, y, x)."""
        h = self.conv_in(frames)
        for block in self.down_blocks:
            h = block(h)
        out: Tensor = self.conv_out(active(self.conv_norm_out, self.mid_block(h), False))
        return out


class DecoderResBlock(SpatioTemporalResBlock):
    """The decoder's block without embedding: spatial part a few frames at a time, the temporal part on the same
    storage, the blend folded.

    out = a*xs + (1-a)*(xs + u) = xs + (1-a)*u, where the decoder's switched blend has 1 - a = sigmoid(mix_factor).
    """

    regions = ("in_space", "in_time")
    """Methods that torch.compile takes on a GPU."""

    def __init__(self, channels: int, out: int) -> None:
        super().__init__(channels, out, None, EPS, temporal_eps=1e-5, mix=0.0)

    def forward(self, frames: Tensor, b: int) -> Tensor:  # type: ignore[override]
        """(b * f, c, h, w) -> (b * f, o, h, w)."""
        return self.in_time(frame_wise(self.in_space, frames), b)

    def in_time(self, xs: Tensor, b: int) -> Tensor:
        """The temporal block and the blend, for b clips."""
        inner, spare = self.temporal_res_block, not torch.is_grad_enabled()
        u = along_time(xs, b)
        u = flat_conv(active(inner.norm1, u, spare), inner.conv1)
        u = flat_conv(active(inner.norm2, u, spare), inner.conv2)
        return self.join(xs, across_space(u, xs.shape))

    def join(self, xs: Tensor, u: Tensor) -> Tensor:
        """xs + (1 - a) * u."""
        share = self.time_mixer.mix_factor.sigmoid().to(u.dtype)
        return xs + share * u if torch.is_grad_enabled() else u.mul_(share).add_(xs)

    def in_space(self, frames: Tensor) -> Tensor:
        """The spatial block on (n, c, h, w), in the input's storage order, in place where no gradient is asked."""
        block, spare = self.spatial_res_block, not torch.is_grad_enabled()
        h = block.conv1(active(block.norm1, frames, spare))
        h = block.conv2(active(block.norm2, h, spare))
        skip = frames if block.conv_shortcut is None else block.conv_shortcut(frames)
        return h.add_(skip) if spare else h + skip


class DecoderMid(nn.Module):
    """Residual blocks, with an attention after the first."""

    def __init__(self, channels: int, layers: int) -> None:
        super().__init__()
        resnets = [DecoderResBlock(channels, channels) for _ in range(layers)]
        self.attentions = nn.ModuleList([MapAttention(channels)])
        self.resnets = nn.ModuleList(resnets)

    def forward(self, h: Tensor, b: int) -> Tensor:
        """(b * f, c, h, w) -> the same."""
        h = self.resnets[0](h, b)
        for resnet in self.resnets[1:2]:  # diffusers' loop, too, ends with its one attention
            h = resnet(self.attentions[0](h), b)
        return h


class DecoderBlock(nn.Module):
    """Residual blocks and an upsampling; its layers are called by the decoder."""

    def __init__(self, channels: int, out: int, layers: int, up: bool) -> None:
        super().__init__()
        self.resnets = nn.ModuleList([DecoderResBlock(channels if i == 0 else out, out) for i in range(layers)])
        self.upsamplers = nn.ModuleList([Upsample(out)] if up else [])


class TemporalDecoder(nn.Module):
    """Latents of whole clips to frames; the last, largest layers take a few frames at a time."""

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        widths, layers = config.block_out_channels, config.layers_per_block
        self.conv_in = nn.Conv2d(config.latent_channels, widths[-1], 3, padding=1)
        self.mid_block = DecoderMid(widths[-1], layers)
        self.up_blocks = nn.ModuleList()
        for i in range(len(widths) - 1, -1, -1):
            before = widths[min(i + 1, len(widths) - 1)]
            self.up_blocks.append(DecoderBlock(before, widths[i], layers + 1, i > 0))
        self.conv_norm_out = nn.GroupNorm(32, widths[0], EPS)
        self.conv_out = nn.Conv2d(widths[0], config.out_channels, 3, padding=1)
        self.time_conv_out = nn.Conv3d(config.out_channels, config.out_channels, (3, 1, 1), padding=(1, 0, 0))

    def forward(self, latents: Tensor, frames: int) -> Tensor:
        """(b * f, c, y, x) of clips of f `frames` -> (b * f, 3, h, w)."""
        b = len(latents) // frames
        h = self.mid_block(self.conv_in(latents), b)
        blocks: Any = self.up_blocks
        for block in blocks:
            for resnet in block.resnets:
                h = resnet(h, b)  # a block's own loop would keep its first map
            for upsample in block.upsamplers:
                few = AT_MOST.get()
                h = frame_wise(upsample, h, few) if few < len(h) else upsample(h)
        h = frame_wise(lambda part: self.conv_out(active(self.conv_norm_out, part, False)), h)
        clips = h.unflatten(0, (b, frames)).transpose(1, 2).contiguous()
        out = flat_conv(clips.flatten(3), self.time_conv_out).unflatten(3, clips.shape[3:])
        return out.transpose(1, 2).flatten(0, 1)


class Autoencoder(Network):
    """Encoder and decoder."""

    Config = AutoencoderConfig
    config: AutoencoderConfig

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder, self.decoder = Encoder(config), TemporalDecoder(config)
        self.quant_conv = nn.Conv2d(2 * config.latent_channels, 2 * config.latent_channels, 1)

    def theirs(self) -> str:
        """In diffusers."""
        return "AutoencoderKLTemporalDecoder"

    def moments(self, frames: Tensor) -> Tensor:
        """(n, 3, h, w) -> mean and log-variance, (n, 2 c, y, x)."""
        out: Tensor = self.quant_conv(self.encoder(frames))
        return out

    def decode(self, latents: Tensor, frames: int) -> Tensor:
        """(b * f, c, y, x) of clips of f `frames` -> (b * f, 3, h, w)."""
        out: Tensor = self.decoder(latents, frames)
        return out
