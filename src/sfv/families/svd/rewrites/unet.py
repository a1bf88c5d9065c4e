"""The exact rewrites of a UNet for generation: the same function of the same weights with fewer and larger steps.

Each rewrite works in place on diffusers' modules and keeps the names of weights; `exact` applies all of them to a copy
that shares what is not changed. Not for training: folded weights are no longer the file's.
"""

import copy
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from diffusers import UNetSpatioTemporalConditionModel
from diffusers.models.attention import BasicTransformerBlock, TemporalBasicTransformerBlock
from diffusers.models.resnet import SpatioTemporalResBlock
from diffusers.models.transformers.transformer_temporal import TransformerSpatioTemporalModel
from diffusers.models.upsampling import Upsample2D
from torch import Tensor, nn

from sfv.decoding.decoder import StagedDecoder
from sfv.families.base import VideoModel
from sfv.families.svd.networks import SVDCodec, SVDDenoiser
from sfv.families.svd.rewrites.layers import (
    across_space,
    active,
    along_time,
    flat_conv,
    flatten_temporal_convs,
    lean_attention,
)

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


def exact(unet: UNetSpatioTemporalConditionModel) -> "FoldedUNet":
    """A copy of a UNet with every exact rewrite; weights that do not change are shared."""
    copied = shared_copy(unet)
    flatten_temporal_convs(copied)
    lean_attention(copied)
    collapse_cross_attention(copied)
    fold_blends(copied)
    polyphase(copied)
    return fold_embeddings(copied)


def shared_copy(module: Any) -> Any:
    """The same module over the very same parameters and buffers."""
    return copy.deepcopy(module, {id(t): t for t in (*module.parameters(), *module.buffers())})


def collapse_cross_attention(unet: Any) -> None:
    """Attention over the picture's one token is its value, whatever the query: norm2, to_q and to_k are not read.

    The value is told once per sample, not once per position.
    """
    for child in unet.modules():
        if type(child) is TransformerSpatioTemporalModel and all(map(_is_collapsible, _blocks(child))):
            child.__class__ = FoldedTransformer


def fold_blends(unet: Any) -> None:
    """out = a*xs + (1-a)*(xs + conv2(u)) = xs + (1-a)*conv2(u): the share goes into conv2's weight and bias.

    Of residual blocks with a learned share (a = sigmoid(mix_factor) for videos; 1 - a where it is switched).
    """
    for child in unet.modules():
        if type(child) is SpatioTemporalResBlock and _is_foldable(child):
            child.__class__ = FoldedResBlock
            mix = child.time_mixer
            toward = 1 if mix.switch_spatial_to_temporal_mix else -1
            wide = torch.promote_types(mix.mix_factor.dtype, torch.float32)
            share, last = (toward * mix.mix_factor.detach().to(wide)).sigmoid(), child.temporal_res_block.conv2
            last.weight, last.bias = (
                nn.Parameter((share * p.detach().to(wide)).to(p.dtype), p.requires_grad)
                for p in (last.weight, last.bias)
            )


def polyphase(module: Any) -> None:
    """Nearest x2 and a 3x3 convolution are four 2x2 convolutions of the small map, one for each output parity."""
    for child in module.modules():
        if type(child) is Upsample2D and _is_plain_upsample(child):
            child.__class__ = PolyphaseUpsample
            child.register_buffer("phases", phase_kernels(child.conv.weight), persistent=False)


def fold_embeddings(unet: Any) -> "FoldedUNet":
    """Noise level and ids reach a residual block as a bias of its first convolution, told once for all frames."""
    blocks = [m for m in unet.modules() if isinstance(m, SpatioTemporalResBlock)]
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


class FoldedUNet(UNetSpatioTemporalConditionModel):
    """diffusers' UNet with embeddings as biases, kept for the levels and ids that were asked for last."""

    last = False
    """Whether maps lie channels-last on a CPU too."""
    biases_of: OrderedDict[tuple[float, ...], Biases]
    time_parts: list[Any]
    """Both parts of every residual block."""

    def forward(
        self,
        sample: Tensor,
        timestep: Tensor,
        encoder_hidden_states: Tensor,
        added_time_ids: Tensor,
        return_dict: bool = False,
    ) -> tuple[Tensor]:
        """(b, f, c, h, w), (b,), (b, 1, e), (b, 3) -> ((b, f, c, h, w),)."""
        b, f = sample.shape[:2]
        alone = {"temb": self.biases(timestep, added_time_ids), "image_only_indicator": sample.new_zeros(b, f)}
        with_context = alone | {"encoder_hidden_states": encoder_hidden_states}
        h = self.conv_in(_laid_out(sample.flatten(0, 1), self.last))
        skips = (h,)
        for block in self.down_blocks:
            h, more = block(hidden_states=h, **(with_context if _crosses(block) else alone))
            skips += more
        h = self.mid_block(hidden_states=h, **with_context)
        for block in self.up_blocks:
            used, skips = skips[-len(block.resnets) :], skips[: -len(block.resnets)]
            size = skips[-1].shape[2:] if skips and _is_odd(sample, self.num_upsamplers) else None
            arguments = (with_context if _crosses(block) else alone) | {"upsample_size": size}
            h = block(hidden_states=h, res_hidden_states_tuple=used, **arguments)
        h = self.conv_out(active(self.conv_norm_out, h, False))
        return (h.unflatten(0, (b, f)),)

    def biases(self, timestep: Tensor, ids: Tensor) -> Biases:
        """Of every residual block; looked up where they are known."""
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
        dtype = self.conv_in.weight.dtype
        emb = self.time_embedding(self.time_proj(timestep.expand(len(ids))).to(dtype))
        emb = emb + self.add_embedding(self.add_time_proj(ids.flatten()).reshape(len(ids), -1).to(dtype))
        active = F.silu(emb)
        return tuple(part.conv1.bias + part.time_emb_proj(active) for part in self.time_parts)


class FoldedResBlock(SpatioTemporalResBlock):
    """A residual block in space, then one in time on the same storage; its blend is in conv2, its embedding a bias."""

    places: tuple[int, int]

    def forward(self, hidden_states: Tensor, temb: Biases, image_only_indicator: Tensor) -> Tensor:
        """(b * f, c, h, w) -> (b * f, o, h, w); `temb` holds the biases."""
        return self.body(hidden_states, temb[self.places[0]], temb[self.places[1]], len(image_only_indicator))

    def body(self, hidden_states: Tensor, here: Tensor, then: Tensor, b: int) -> Tensor:
        """The same with this block's own biases, for b clips: nothing here tells one block from another of its size."""
        space, time = self.spatial_res_block, self.temporal_res_block
        h = _active(space.norm1, hidden_states)
        h = _biased(F.conv2d(h, space.conv1.weight, _one(here), padding=1), here)
        h = space.conv2(_active(space.norm2, h))
        xs = _sum(h, hidden_states if space.conv_shortcut is None else space.conv_shortcut(hidden_states))
        u = _active(time.norm1, _clips(xs, b))
        u = _biased(F.conv2d(u, time.conv1.weight[..., 0], _one(then), padding=(1, 0)), then)
        u = flat_conv(_active(time.norm2, u), time.conv2)
        return _sum(xs, _frames(u, xs))


class FoldedTransformer(TransformerSpatioTemporalModel):
    """A spatio-temporal transformer whose cross-attention is a vector per sample."""

    last = False
    """Whether maps lie channels-last on a CPU too."""

    def forward(
        self, hidden_states: Tensor, encoder_hidden_states: Tensor, image_only_indicator: Tensor, **_: Any
    ) -> tuple[Tensor]:
        """(b * f, c, h, w) and the picture's token, (b, 1, e) or for every frame, -> ((b * f, c, h, w),)."""
        n, c, y, x = hidden_states.shape
        b, f = image_only_indicator.shape
        token = encoder_hidden_states.unflatten(0, (b, -1))[:, 0]
        tokens = self.proj_in(self.norm(hidden_states).permute(0, 2, 3, 1).reshape(n, y * x, c))
        places = self.time_proj(torch.arange(f, device=tokens.device)).to(tokens.dtype)
        when = self.time_pos_embed(places)[:, None].expand(b, f, 1, -1).flatten(0, 1)
        for space, time in zip(self.transformer_blocks, self.temporal_transformer_blocks, strict=True):
            tokens = _attend(space, tokens, _value(space, token).repeat_interleave(f, 0))
            moved = self.over_time(time, tokens + when, _value(time, token), b)
            tokens = moved + self.time_mixer.mix_factor.sigmoid().to(tokens.dtype) * (tokens - moved)
        out = self.proj_out(tokens).view(n, y, x, -1).permute(0, 3, 1, 2)
        return (_sum(_laid_out(out, self.last), hidden_states),)

    def over_time(self, block: Any, tokens: Tensor, value: Tensor, b: int) -> Tensor:
        """A temporal block."""
        return through_time(block, tokens, value, b)


class PolyphaseUpsample(Upsample2D):
    """y[2p+a, 2q+d] = bias + sum over i, j in {0, 1} of K_ad[i, j] x[p+a+i-1, q+d+j-1], zero beyond the border."""

    phases: Tensor

    def forward(self, hidden_states: Tensor, output_size: Any = None, *more: Any, **named: Any) -> Tensor:
        """(n, c, h, w) -> (n, o, 2h, 2w); another `output_size` takes diffusers' way."""
        y, x = hidden_states.shape[2:]
        if output_size is not None and tuple(output_size) != (2 * y, 2 * x):
            grown: Tensor = super().forward(hidden_states, output_size)
            return grown
        bias = None if self.conv.bias is None else self.conv.bias.repeat(4)
        return self.weave(F.conv2d(hidden_states, self.phases, bias, padding=1).unflatten(1, (4, -1)), y, x)

    def weave(self, every: Tensor, y: int, x: int) -> Tensor:
        """The maps of the four parities, (n, 4, o, y + 1, x + 1), into one, (n, o, 2y, 2x)."""
        n = len(every)
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


def _clips(frames: Tensor, b: int) -> Tensor:
    """(b * f, c, h, w) -> (b, c, f, h * w), without a copy."""
    if frames.is_contiguous(memory_format=torch.channels_last) and not frames.is_contiguous():
        return along_time(frames, b)
    return frames.flatten(2).unflatten(0, (b, -1)).transpose(1, 2)


def _frames(clips: Tensor, like: Tensor) -> Tensor:
    """Inverse of `_clips`."""
    if like.is_contiguous(memory_format=torch.channels_last) and not like.is_contiguous():
        return across_space(clips, like.shape)
    return clips.transpose(1, 2).reshape(like.shape)


def _one(bias: Tensor) -> Tensor | None:
    """A bias that all samples share."""
    return bias[0] if len(bias) == 1 else None


def _biased(maps: Tensor, bias: Tensor) -> Tensor:
    """Samples' own biases, where the convolution had none: (b * f, c, h, w) or (b, c, f, h * w)."""
    if len(bias) == 1:
        return maps
    return maps + bias.repeat_interleave(len(maps) // len(bias), 0)[:, :, None, None]


def _blocks(model: Any) -> list[nn.Module]:
    return [*model.transformer_blocks, *model.temporal_transformer_blocks]


def _crosses(block: Any) -> bool:
    return bool(getattr(block, "has_cross_attention", False))


def _is_odd(sample: Tensor, doublings: int) -> bool:
    """A side that does not come back whole from halving."""
    return any(side % 2**doublings for side in sample.shape[-2:])


def _is_collapsible(block: Any) -> bool:
    """Layer norms and cross-attention, as in SVD."""
    if type(block) is BasicTransformerBlock:
        plain = block.norm_type == "layer_norm" and block.pos_embed is None and not block.only_cross_attention
    else:
        plain = type(block) is TemporalBasicTransformerBlock and block.is_res
    return bool(plain and block.attn2 is not None and block._chunk_size is None)


def _is_foldable(block: Any) -> bool:
    """A residual block with embeddings, additive, of equal widths in time."""
    space, time = block.spatial_res_block, block.temporal_res_block
    plain = space.output_scale_factor == 1 and space.upsample is None and space.downsample is None
    embedded = space.time_emb_proj is not None and space.time_embedding_norm == "default"
    return plain and embedded and time.time_emb_proj is not None and time.conv_shortcut is None


def _is_plain_upsample(layer: Any) -> bool:
    conv = layer.conv
    plain = layer.use_conv and layer.interpolate and not layer.use_conv_transpose and layer.norm is None
    return plain and isinstance(conv, nn.Conv2d) and (conv.kernel_size, conv.padding) == ((3, 3), (1, 1))
