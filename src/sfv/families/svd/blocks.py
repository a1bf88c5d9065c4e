"""The blocks of SVD's UNet: residual and transformer blocks in space and in time (2311.15127, section 4.1).

Names of weights are diffusers'. Frames of b clips lie in one batch, (b * f, c, h, w); `clips` below is b.
"""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sfv.families.framewise import clips, flat_conv, frames_of
from sfv.families.svd.lora import AdaptedConv

SHORT = 1024
"""Tokens up to which a CPU is quicker with plain matrix products than with its flash kernel."""


def sinusoids(numbers: Tensor, width: int) -> Tensor:
    """(n,) -> (n, width) in float32: cosines, then sines, of frequencies from 1 down to 1/10000 (2006.11239)."""
    half = width // 2
    exponent = -math.log(10_000) * torch.arange(half, dtype=torch.float32, device=numbers.device) / half
    angles = numbers[:, None].float() * exponent.exp()[None]
    return torch.cat([angles.cos(), angles.sin()], -1)


class Embedding(nn.Module):
    """Two linear layers with SiLU between."""

    def __init__(self, width: int, hidden: int, out: int) -> None:
        super().__init__()
        self.linear_1, self.linear_2 = nn.Linear(width, hidden), nn.Linear(hidden, out)

    def forward(self, x: Tensor) -> Tensor:
        """(n, width) -> (n, out)."""
        out: Tensor = self.linear_2(F.silu(self.linear_1(x)))
        return out


class Blend(nn.Module):
    """a * space + (1 - a) * time with a learned a = sigmoid(mix_factor); the decoder's is switched, 1 - a for a."""

    def __init__(self, start: float) -> None:
        super().__init__()
        self.mix_factor = nn.Parameter(torch.tensor([start]))

    def forward(self, space: Tensor, time: Tensor) -> Tensor:
        """Two of one shape -> their blend."""
        share = self.mix_factor.sigmoid().to(space.dtype)
        return share * space + (1 - share) * time


class ResBlock(nn.Module):
    """GroupNorm, SiLU and 3x3 convolution, twice, around a skip; the embedding is added in the middle."""

    def __init__(self, channels: int, out: int, embed: int | None, eps: float) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(32, channels, eps)
        self.conv1 = nn.Conv2d(channels, out, 3, padding=1)
        self.time_emb_proj = nn.Linear(embed, out) if embed else None
        self.norm2 = nn.GroupNorm(32, out, eps)
        self.conv2 = nn.Conv2d(out, out, 3, padding=1)
        self.conv_shortcut = nn.Conv2d(channels, out, 1) if channels != out else None

    def forward(self, frames: Tensor, embedding: Tensor | None = None) -> Tensor:
        """(n, c, h, w) and perhaps (b, e), each for n / b of them, -> (n, o, h, w)."""
        h = self.conv1(F.silu(self.norm1(frames)))
        if embedding is not None and self.time_emb_proj is not None:
            each = self.time_emb_proj(F.silu(embedding))
            h = h + each.repeat_interleave(len(frames) // len(each), 0)[:, :, None, None]
        h = self.conv2(F.silu(self.norm2(h)))
        skip = frames if self.conv_shortcut is None else self.conv_shortcut(frames)
        out: Tensor = skip + h
        return out


class TemporalResBlock(nn.Module):
    """The same over the frames of each position: convolutions of kernel (3, 1, 1)."""

    def __init__(self, channels: int, embed: int | None, eps: float) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(32, channels, eps)
        self.conv1 = nn.Conv3d(channels, channels, (3, 1, 1), padding=(1, 0, 0))
        self.time_emb_proj = nn.Linear(embed, channels) if embed else None
        self.norm2 = nn.GroupNorm(32, channels, eps)
        self.conv2 = nn.Conv3d(channels, channels, (3, 1, 1), padding=(1, 0, 0))

    def forward(self, clip: Tensor, embedding: Tensor) -> Tensor:
        """(b, c, f, h * w), (b, e) -> (b, c, f, h * w)."""
        assert self.time_emb_proj is not None
        h = over_time(F.silu(self.norm1(clip)), self.conv1)
        h = h + self.time_emb_proj(F.silu(embedding))[:, :, None, None]
        return clip + over_time(F.silu(self.norm2(h)), self.conv2)


def over_time(clip: Tensor, conv: nn.Conv3d) -> Tensor:
    """A convolution of kernel (k, 1, 1) over the frames of each position, with its adapter if that is on.

    (b, c, f, h * w) -> the same with the convolution's channels.
    """
    out = flat_conv(clip, conv)
    return out + conv.branch(clip) if isinstance(conv, AdaptedConv) and conv.adapted else out


class SpatioTemporalResBlock(nn.Module):
    """A residual block in space, one in time after it, and their blend."""

    def __init__(
        self,
        channels: int,
        out: int,
        embed: int | None,
        eps: float,
        temporal_eps: float | None = None,
        mix: float = 0.5,
    ) -> None:
        super().__init__()
        self.spatial_res_block = ResBlock(channels, out, embed, eps)
        self.temporal_res_block = TemporalResBlock(out, embed, temporal_eps or eps)
        self.time_mixer = Blend(mix)

    def forward(self, frames: Tensor, embedding: Tensor, b: int) -> Tensor:
        """(b * f, c, h, w), (b, e) -> (b * f, o, h, w)."""
        h = self.spatial_res_block(frames, embedding)
        clip = clips(h, b)
        return frames_of(self.time_mixer(clip, self.temporal_res_block(clip, embedding)), h)


class Attention(nn.Module):
    """Multi-head attention without mask or norms, among tokens or to a context of its own width.

    Over one token softmax is 1, so cross-attention to a picture's single embedding is its value and needs no query
    or key. On a CPU short sequences go through plain matrix products: its flash kernel is up to eight times slower
    in the backward pass.
    """

    def __init__(self, channels: int, heads: int, context: int | None = None) -> None:
        super().__init__()
        self.heads, self.crosses, source = heads, context is not None, context or channels
        self.to_q = nn.Linear(channels, channels, bias=False)
        self.to_k = nn.Linear(source, channels, bias=False)
        self.to_v = nn.Linear(source, channels, bias=False)
        self.to_out = nn.ModuleList([nn.Linear(channels, channels)])

    def forward(self, tokens: Tensor, context: Tensor | None = None) -> Tensor:
        """(n, s, c), and perhaps (b, m, e), each for n / b of them, -> (n, s, c)."""
        if context is not None and context.shape[1] == 1:
            value: Tensor = self.to_out[0](self.to_v(context))
            return value.repeat_interleave(len(tokens) // len(context), 0).expand(-1, tokens.shape[1], -1)
        source = tokens if context is None else context.repeat_interleave(len(tokens) // len(context), 0)
        out: Tensor = self.to_out[0](self.mix(self.to_q(tokens), self.to_k(source), self.to_v(source)))
        return out

    def mix(self, *parts: Tensor) -> Tensor:
        """Queries, keys and values, (n, s, c), -> (n, s, c)."""
        q, k, v = (part.unflatten(2, (self.heads, -1)).transpose(1, 2) for part in parts)
        short = q.device.type == "cpu" and k.shape[2] <= SHORT
        mixed = short_attention(q, k, v) if short else F.scaled_dot_product_attention(q, k, v)
        return mixed.transpose(1, 2).flatten(2)


def short_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """softmax(q k^T / sqrt(d)) v by batched matrix products, (b, heads, n, d)."""
    flat = [x.flatten(0, 1) for x in (q, k, v)]
    scores = torch.baddbmm(q.new_empty(1), flat[0], flat[1].transpose(1, 2), beta=0, alpha=q.shape[-1] ** -0.5)
    return torch.bmm(scores.softmax(-1), flat[2]).view_as(q)


class GEGLU(nn.Module):
    """A linear layer to two halves, one gated by GELU of the other (2002.05202)."""

    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        self.proj = nn.Linear(channels, 2 * out)

    def forward(self, tokens: Tensor) -> Tensor:
        """(..., c) -> (..., o)."""
        value, gate = self.proj(tokens).chunk(2, -1)
        out: Tensor = value * F.gelu(gate)
        return out


class FeedForward(nn.Module):
    """GEGLU to four times the width, and back."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.net = nn.Sequential(GEGLU(channels, 4 * channels), nn.Identity(), nn.Linear(4 * channels, channels))

    def forward(self, tokens: Tensor) -> Tensor:
        """(..., c) -> (..., c)."""
        out: Tensor = self.net(tokens)
        return out


class TransformerBlock(nn.Module):
    """Self-attention, attention to the context, feed-forward, each after a norm and around a skip."""

    def __init__(self, channels: int, heads: int, context: int) -> None:
        super().__init__()
        self.begin(channels)
        self.norm1 = nn.LayerNorm(channels)
        self.attn1 = Attention(channels, heads)
        self.norm2 = nn.LayerNorm(channels)
        self.attn2 = Attention(channels, heads, context)
        self.norm3 = nn.LayerNorm(channels)
        self.ff = FeedForward(channels)

    def begin(self, channels: int) -> None:
        """Layers before the others: names of weights have an order."""

    def forward(self, tokens: Tensor, context: Tensor) -> Tensor:
        """(n, s, c), (b, m, e), each for n / b of them, -> (n, s, c)."""
        tokens = self.attn1(self.norm1(tokens)) + tokens
        tokens = self.attn2(self.norm2(tokens), context) + tokens
        out: Tensor = self.ff(self.norm3(tokens)) + tokens
        return out


class TemporalTransformerBlock(TransformerBlock):
    """The same over the frames of each position, after a feed-forward of its own."""

    def begin(self, channels: int) -> None:
        """The feed-forward of its own."""
        self.norm_in = nn.LayerNorm(channels)
        self.ff_in = FeedForward(channels)

    def forward(self, tokens: Tensor, context: Tensor) -> Tensor:
        """(b * f, s, c), (b, m, e) -> (b * f, s, c)."""
        (n, s, c), b = tokens.shape, len(context)
        rows = tokens.view(b, n // b, s, c).transpose(1, 2).reshape(b * s, n // b, c)
        rows = self.ff_in(self.norm_in(rows)) + rows
        rows = super().forward(rows, context)
        return rows.view(b, s, n // b, c).transpose(1, 2).reshape(n, s, c)


class SpatioTemporalTransformer(nn.Module):
    """Pairs of a transformer block over each frame's positions and one over each position's frames, blended."""

    def __init__(self, channels: int, heads: int, layers: int, context: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(32, channels, eps=1e-6)
        self.proj_in = nn.Linear(channels, channels)
        self.transformer_blocks = nn.ModuleList([TransformerBlock(channels, heads, context) for _ in range(layers)])
        self.temporal_transformer_blocks = nn.ModuleList(
            [TemporalTransformerBlock(channels, heads, context) for _ in range(layers)]
        )
        self.time_pos_embed = Embedding(channels, 4 * channels, channels)
        self.time_mixer = Blend(0.5)
        self.proj_out = nn.Linear(channels, channels)

    def forward(self, frames: Tensor, context: Tensor, b: int) -> Tensor:
        """(b * f, c, h, w), (b, m, e) -> (b * f, c, h, w)."""
        n, c, y, x = frames.shape
        tokens = self.proj_in(self.norm(frames).permute(0, 2, 3, 1).reshape(n, y * x, c))
        when = self.positions(n // b, tokens).repeat(b, 1, 1)
        for space, time in zip(self.transformer_blocks, self.temporal_transformer_blocks, strict=True):
            tokens = space(tokens, context)
            tokens = self.time_mixer(tokens, time(tokens + when, context))
        out = self.proj_out(tokens).reshape(n, y, x, c).permute(0, 3, 1, 2).contiguous()
        return out + frames

    def positions(self, frames: Any, like: Tensor) -> Tensor:
        """Embeddings of the frames' numbers, (f, 1, c); `frames` is f, for the exporter perhaps a symbol of it."""
        places = sinusoids(torch.arange(frames, device=like.device), self.norm.num_channels).to(like.dtype)
        out: Tensor = self.time_pos_embed(places)[:, None]
        return out


class Downsample(nn.Module):
    """A 3x3 convolution with stride 2; the autoencoder's pads right and bottom alone."""

    def __init__(self, channels: int, padding: int = 1) -> None:
        super().__init__()
        self.padding = padding
        self.conv = nn.Conv2d(channels, channels, 3, stride=2, padding=padding)

    def forward(self, frames: Tensor) -> Tensor:
        """(n, c, h, w) -> (n, c, h / 2, w / 2)."""
        out: Tensor = self.conv(frames if self.padding else F.pad(frames, (0, 1, 0, 1)))
        return out


class Upsample(nn.Module):
    """Nearest neighbour to twice the size, or to a given one, and a 3x3 convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, frames: Tensor, size: tuple[int, int] | None = None) -> Tensor:
        """(n, c, h, w) -> (n, c, 2 h, 2 w), or of `size`."""
        y, x = frames.shape[2:]
        whole = frames.contiguous() if 4 * frames.numel() > 2**31 else frames  # pytorch #141831
        out: Tensor = self.conv(F.interpolate(whole, size=size or (2 * y, 2 * x), mode="nearest"))
        return out
