"""The exact rewrites of a UNet for generation: the same function of the same weights with fewer and larger steps.

Each rewrite works in place on the network's modules and keeps the names of weights; `exact` applies all of them to a
copy that shares what is not changed. Not for training: folded weights are no longer the file's.
"""

import copy
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sfv.decoding.decoder import StagedDecoder
from sfv.families.base import VideoModel
from sfv.families.framewise import active, clips, flat_conv, frames_of
from sfv.families.svd.blocks import SpatioTemporalResBlock, SpatioTemporalTransformer, Upsample
from sfv.families.svd.networks import SVDCodec, SVDDenoiser
from sfv.families.svd.unet import UNet

Biases = tuple[Tensor, ...]
"""Of the first convolution of each residual block's two parts, with the embedding in it, (b, c), by `places`."""
KEPT = 8
"""Embeddings whose biases are kept."""


def rewritten(model: VideoModel) -> VideoModel:
    """A model with every exact rewrite; it shares what is not changed with the given one, which stays as it is."""
    assert isinstance(model.denoiser, SVDDenoiser) and isinstance(model.codec, SVDCodec)
    vae = shared_copy(model.codec.vae)
    polyphase(vae.decoder)
    codec = SVDCodec(vae)
    codec.decode_dtype, codec.encode_dtype = model.codec.decode_dtype, model.codec.encode_dtype
    denoiser = SVDDenoiser(exact(model.denoiser.unet))
    return replace(model, denoiser=denoiser, codec=codec, conditioner=model.conditioner.around(codec))


def staged(model: VideoModel, wrap: Callable[[str, nn.Module], Any]) -> VideoModel:
    """A model whose large networks go through `wrap(stage, network)`: unet, decode (small) and decode-full."""
    denoiser, codec = shared_copy(model.denoiser), shared_copy(model.codec)
    denoiser.unet, codec.vae.decoder = wrap("unet", denoiser.unet), wrap("decode-full", codec.vae.decoder)
    small = None
    if model.small is not None:
        small = shared_copy(model.small)
        small.__class__, small.run = StagedDecoder, wrap("decode", model.small)
    return replace(model, denoiser=denoiser, codec=codec, conditioner=model.conditioner.around(codec), small=small)


def exact(unet: UNet) -> "FoldedUNet":
    """A copy of a UNet with every exact rewrite; weights that do not change are shared."""
    copied = shared_copy(unet)
    collapse_cross_attention(copied)
    fold_blends(copied)
    polyphase(copied)
    return fold_embeddings(copied)


def shared_copy(module: Any) -> Any:
    """The same module over the very same parameters and buffers."""
    return copy.deepcopy(module, {id(t): t for t in (*module.parameters(), *module.buffers())})


def collapse_cross_attention(unet: Any) -> None:
    """Attention over the picture's one token is its value, whatever the query: norm2, to_q and to_k are not read.

    The value is computed once per clip, not once per position.
    """
    for child in unet.modules():
        if type(child) is SpatioTemporalTransformer:
            child.__class__ = FoldedTransformer


def fold_blends(unet: Any) -> None:
    """out = a*xs + (1-a)*(xs + conv2(u)) = xs + (1-a)*conv2(u): the share goes into conv2's weight and bias."""
    for child in unet.modules():
        if type(child) is SpatioTemporalResBlock:
            child.__class__ = FoldedResBlock
            mix = child.time_mixer.mix_factor.detach()
            wide = torch.promote_types(mix.dtype, torch.float32)
            share, last = (-mix.to(wide)).sigmoid(), child.temporal_res_block.conv2
            for name, p in list(last.named_parameters()):
                setattr(last, name, nn.Parameter((share * p.detach().to(wide)).to(p.dtype), p.requires_grad))


def polyphase(module: Any) -> None:
    """Nearest x2 and a 3x3 convolution are four 2x2 convolutions of the small map, one for each output parity."""
    for child in module.modules():
        if type(child) is Upsample:
            child.__class__ = PolyphaseUpsample
            child.register_buffer("phases", phase_kernels(child.conv.weight), persistent=False)


def fold_embeddings(unet: Any) -> "FoldedUNet":
    """Noise level and ids reach a residual block as a bias of its first convolution, the same for all frames."""
    blocks: list[Any] = [m for m in unet.modules() if isinstance(m, SpatioTemporalResBlock)]
    if not all(isinstance(block, FoldedResBlock) for block in blocks):
        raise TypeError("embeddings are folded into folded residual blocks: call fold_blends first")
    unet.__class__ = FoldedUNet
    unet.biases_of, unet.time_parts = (
        OrderedDict(),
        [p for b in blocks for p in (b.spatial_res_block, b.temporal_res_block)],
    )
    for i, block in enumerate(blocks):
        block.places = 2 * i, 2 * i + 1
    return unet


class FoldedUNet(UNet):
    """The UNet with embeddings as biases, kept for the levels and ids that were asked for last."""

    last = False
    """Whether maps lie channels-last on a CPU too."""
    biases_of: OrderedDict[tuple[float, ...], Biases]
    time_parts: list[Any]
    """Both parts of every residual block."""

    def enter(self, sample: Tensor) -> Tensor:
        """(b, f, c, h, w) -> (b * f, o, h, w)."""
        out: Tensor = self.conv_in(_laid_out(sample.flatten(0, 1), self.last))
        return out

    def embed(self, timestep: Tensor, ids: Tensor) -> Biases:
        """Biases of every residual block; looked up where they are known."""
        traced = torch.compiler.is_compiling() or torch.jit.is_tracing()  # type: ignore[attr-defined]
        if timestep.is_meta or traced or (timestep.is_cuda and torch.cuda.is_current_stream_capturing()):
            return self._biases(timestep, ids)
        key = (len(ids), *timestep.flatten().tolist(), *ids.flatten().tolist())
        if key not in self.biases_of:
            self.biases_of[key] = self._biases(timestep, ids)
        self.biases_of.move_to_end(key)
        while len(self.biases_of) > KEPT:
            self.biases_of.popitem(last=False)
        return self.biases_of[key]

    def _biases(self, timestep: Tensor, ids: Tensor) -> Biases:
        active = F.silu(super().embed(timestep, ids))
        return tuple(part.conv1.bias + part.time_emb_proj(active) for part in self.time_parts)


class FoldedResBlock(SpatioTemporalResBlock):
    """A residual block in space, then one in time on the same storage; its blend is in conv2, its embedding a bias."""

    regions = ("body",)
    """Methods that torch.compile takes on a GPU."""

    places: tuple[int, int]

    def forward(self, frames: Tensor, embedding: Biases, b: int) -> Tensor:  # type: ignore[override]
        """(b * f, c, h, w), every block's biases -> (b * f, o, h, w)."""
        return self.body(frames, embedding[self.places[0]], embedding[self.places[1]], b)

    def body(self, frames: Tensor, here: Tensor, then: Tensor, b: int) -> Tensor:
        """The same with this block's own biases, for b clips: nothing here tells one block from another of its size."""
        space, time = self.spatial_res_block, self.temporal_res_block
        h = _active(space.norm1, frames)
        h = _biased(F.conv2d(h, space.conv1.weight, _one(here), padding=1), here)
        h = space.conv2(_active(space.norm2, h))
        xs = _sum(h, frames if space.conv_shortcut is None else space.conv_shortcut(frames))
        u = _active(time.norm1, clips(xs, b))
        u = _biased(F.conv2d(u, time.conv1.weight[..., 0], _one(then), padding=(1, 0)), then)
        u = flat_conv(_active(time.norm2, u), time.conv2)
        return _sum(xs, frames_of(u, xs))


class FoldedTransformer(SpatioTemporalTransformer):
    """A spatio-temporal transformer whose cross-attention is a vector per clip."""

    regions = ("forward",)
    """Methods that torch.compile takes on a GPU."""

    last = False
    """Whether maps lie channels-last on a CPU too."""

    def forward(self, frames: Tensor, context: Tensor, b: int) -> Tensor:
        """(b * f, c, h, w) and the picture's token, (b, 1, e), -> (b * f, c, h, w)."""
        if context.shape[1] != 1:
            raise ValueError(f"{context.shape[1]} tokens for cross-attention; rewrites are for SVD's one")
        n, c, y, x = frames.shape
        tokens = self.proj_in(self.norm(frames).permute(0, 2, 3, 1).reshape(n, y * x, c))
        when = self.positions(n // b, tokens).repeat(b, 1, 1)
        for space, time in zip(self.transformer_blocks, self.temporal_transformer_blocks, strict=True):
            tokens = _attend(space, tokens, _value(space, context).repeat_interleave(n // b, 0))
            moved = self.over_time(time, tokens + when, _value(time, context), b)
            tokens = moved + self.time_mixer.mix_factor.sigmoid().to(tokens.dtype) * (tokens - moved)
        out = self.proj_out(tokens).view(n, y, x, -1).permute(0, 3, 1, 2)
        return _sum(_laid_out(out, self.last), frames)

    def over_time(self, block: Any, tokens: Tensor, value: Tensor, b: int) -> Tensor:
        """A temporal block."""
        return through_time(block, tokens, value, b)


class PolyphaseUpsample(Upsample):
    """y[2p+a, 2q+d] = bias + sum over i, j in {0, 1} of K_ad[i, j] x[p+a+i-1, q+d+j-1], zero beyond the border."""

    regions = ("forward",)
    """Methods that torch.compile takes on a GPU."""

    phases: Tensor

    def forward(self, frames: Tensor, size: tuple[int, int] | None = None) -> Tensor:
        """(n, c, h, w) -> (n, o, 2h, 2w); another `size` takes the plain way."""
        y, x = frames.shape[2:]
        if size is not None and tuple(size) != (2 * y, 2 * x):
            return super().forward(frames, size)
        bias = None if self.conv.bias is None else self.conv.bias.repeat(4)
        return self.weave(F.conv2d(frames, self.phases, bias, padding=1).unflatten(1, (4, -1)), y, x)

    def weave(self, every: Tensor, y: int, x: int) -> Tensor:
        """The maps of the four parities, (n, 4, o, y + 1, x + 1), into one, (n, o, 2y, 2x)."""
        n = every.shape[0]  # not len(): its exporter takes that for fixed
        parts = [every[:, 2 * a + d, :, a : a + y, d : d + x] for a in (0, 1) for d in (0, 1)]
        rows = torch.stack(parts, -1).unflatten(-1, (2, 2)).permute(0, 2, 4, 3, 5, 1)  # (n, y, a, x, d, o)
        return _laid_out(rows.reshape(n, 2 * y, 2 * x, -1).permute(0, 3, 1, 2), False)


def phase_kernels(weight: Tensor) -> Tensor:
    """(o, c, 3, 3) -> (4 o, c, 2, 2): for each output parity, what falls on one source pixel is summed."""
    rows = {0: ((0,), (1, 2)), 1: ((0, 1), (2,))}
    wide = weight.detach().double()
    return torch.cat(
        [
            torch.stack([torch.stack([wide[:, :, r][..., q].sum((2, 3)) for q in rows[d]], -1) for r in rows[a]], -2)
            for a in (0, 1)
            for d in (0, 1)
        ]
    ).to(weight.dtype)


def through_time(block: Any, tokens: Tensor, value: Tensor, b: int) -> Tensor:
    """A temporal block on (b * f, s, c), attention running over the frames of each position; the same shape."""
    n, s, c = tokens.shape
    rows = tokens.view(b, n // b, s, c).transpose(1, 2).reshape(b * s, n // b, c)
    rows = _sum(block.ff_in(block.norm_in(rows)), rows)
    rows = _attend(block, rows, value.repeat_interleave(s, 0))
    return rows.view(b, s, n // b, c).transpose(1, 2).reshape(n, s, c)


def _attend(block: Any, tokens: Tensor, value: Tensor) -> Tensor:
    """Self-attention, the picture's value, feed-forward; `value` (rows, 1, c)."""
    tokens = _sum(_sum(block.attn1(block.norm1(tokens)), tokens), value)
    return _sum(block.ff(block.norm3(tokens)), tokens)


def _value(block: Any, token: Tensor) -> Tensor:
    """What cross-attention to one token adds, (b, 1, c)."""
    out: Tensor = block.attn2.to_out[0](block.attn2.to_v(token))
    return out


def _active(norm: nn.Module, maps: Tensor) -> Tensor:
    """SiLU after a norm: in place, unless gradients (or a tracer) ask for what was there."""
    return active(norm, maps, not torch.is_grad_enabled())


def _sum(fresh: Tensor, other: Tensor) -> Tensor:
    """The same for a sum with a tensor that nobody else reads."""
    return fresh + other if torch.is_grad_enabled() else fresh.add_(other)


def _laid_out(frames: Tensor, last: bool) -> Tensor:
    """Channels last if asked and on an accelerator; else first: a CPU's group norm is 30 times slower on the others."""
    first = frames.is_cpu and not last
    return frames.contiguous(memory_format=torch.contiguous_format if first else torch.channels_last)


def _one(bias: Tensor) -> Tensor | None:
    """A bias that all samples share."""
    return bias[0] if len(bias) == 1 else None


def _biased(maps: Tensor, bias: Tensor) -> Tensor:
    """Samples' own biases, where the convolution had none: (b * f, c, h, w) or (b, c, f, h * w)."""
    if len(bias) == 1:
        return maps
    return maps + bias.repeat_interleave(len(maps) // len(bias), 0)[:, :, None, None]
