"""Exact rewrites of SVD modules: the same numbers, sooner. Weights and their names stay as they are."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
import torch.nn.functional as F
from diffusers.models.attention_processor import Attention, AttnProcessor2_0
from diffusers.models.autoencoders.autoencoder_kl_temporal_decoder import TemporalDecoder
from diffusers.models.resnet import SpatioTemporalResBlock
from torch import Tensor, nn

CACHE = 2_500_000
"""Numbers that pass through a frame-wise layer together on a CPU: more would leave its caches."""


SHORT = 1024
"""Tokens up to which a CPU is quicker with plain matrix products than with its flash kernel."""


AT_MOST: ContextVar[int] = ContextVar("at_most", default=1_000_000)
"""Frames that a frame-wise layer may take together."""


@contextmanager
def at_most(frames: int) -> Iterator[None]:
    """Frame-wise layers take so many frames together, inside the block: less memory, the same numbers."""
    token = AT_MOST.set(frames)
    try:
        yield
    finally:
        AT_MOST.reset(token)


def together(frames: Tensor) -> int:
    """How many frames to take at a time: all on an accelerator, what fits the caches on a CPU, within the limit."""
    return min(AT_MOST.get(), _fitting(frames))


def _fitting(frames: Tensor) -> int:
    return max(1, min(len(frames), CACHE // frames[0].numel())) if frames.device.type == "cpu" else len(frames)


def frame_wise(layer: Callable[[Tensor], Tensor], frames: Tensor, few: int | None = None) -> Tensor:
    """Apply a layer that treats frames (n, ...) alone, a few at a time."""
    parts = frames.split(few or together(frames))
    first = layer(parts[0])
    if len(parts) == 1 or torch.is_grad_enabled():
        return torch.cat([first, *(layer(part) for part in parts[1:])])
    last = first.dim() == 4 and first.is_contiguous(memory_format=torch.channels_last)
    order = torch.channels_last if last else torch.contiguous_format
    out = torch.empty((len(frames), *first.shape[1:]), dtype=first.dtype, device=first.device, memory_format=order)
    for target, part in zip(out.split(len(parts[0])), parts, strict=True):
        target.copy_(first if part is parts[0] else layer(part))
    return out


class ActiveNorm(nn.GroupNorm):
    """A norm that may apply SiLU by itself."""

    def active(self, maps: Tensor, spare: bool) -> Tensor:
        """SiLU of the norm; in place if spare."""
        return F.silu(self(maps), inplace=spare)


def active(norm: nn.Module, maps: Tensor, spare: bool) -> Tensor:
    """SiLU after a norm, in one pass where the norm can; in place if nobody asks for gradients."""
    return norm.active(maps, spare) if isinstance(norm, ActiveNorm) else F.silu(norm(maps), inplace=spare)


class TemporalConv(nn.Conv3d):
    """Conv3d with kernel (3, 1, 1) computed as Conv2d with kernel (3, 1) on (b, c, f, h * w).

    The view is free for contiguous clips; CPU and GPU libraries run the flat form several times faster.
    """

    def forward(self, input: Tensor) -> Tensor:
        """(b, c, f, h, w) -> (b, o, f, h, w)."""
        return flat_conv(input.flatten(3), self).unflatten(3, input.shape[3:])


class DecoderResBlock(SpatioTemporalResBlock):
    """The decoder's block without time embedding: spatial part a few frames at a time, the temporal part on the
    same storage, the blend folded.

    out = a*xs + (1-a)*(xs + u) = xs + (1-a)*u, where the decoder's switched blend has 1 - a = sigmoid(mix_factor).
    """

    def forward(
        self, hidden_states: Tensor, temb: Tensor | None = None, image_only_indicator: Tensor | None = None
    ) -> Tensor:
        """(b * f, c, h, w) -> (b * f, o, h, w)."""
        assert temb is None and image_only_indicator is not None
        return self.in_time(frame_wise(self.in_space, hidden_states), len(image_only_indicator))

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


class FoldedDecoder(TemporalDecoder):
    """The temporal decoder with its last, largest layers a few frames at a time."""

    def forward(self, sample: Tensor, image_only_indicator: Tensor, num_frames: int = 1) -> Tensor:
        """(b * f, c, y, x) -> (b * f, 3, h, w)."""
        h = self.mid_block(self.conv_in(sample), image_only_indicator=image_only_indicator)
        for block in self.up_blocks:
            for resnet in block.resnets:
                h = resnet(h, image_only_indicator=image_only_indicator)  # a block's own loop would keep its first map
            for upsampler in block.upsamplers or ():
                few = AT_MOST.get()
                h = frame_wise(upsampler, h, few) if few < len(h) else upsampler(h)
        h = frame_wise(lambda part: self.conv_out(active(self.conv_norm_out, part, False)), h)
        clips = h.unflatten(0, (-1, num_frames)).transpose(1, 2).contiguous()
        return self.time_conv_out(clips).transpose(1, 2).flatten(0, 1)


class LeanAttention:
    """Attention as SVD uses it: no mask, no norms of its own, no residual.

    Over one token softmax is 1, so cross-attention to a picture's single embedding is its value and needs no query
    or key. On a CPU short sequences go through plain matrix products: its flash kernel is up to eight times slower
    in the backward pass.
    """

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        temb: Tensor | None = None,
    ) -> Tensor:
        """(b, n, c) and perhaps (b, m, e) -> (b, n, c)."""
        assert attention_mask is None
        if encoder_hidden_states is not None and encoder_hidden_states.shape[1] == 1:
            out: Tensor = attn.to_out[0](attn.to_v(encoder_hidden_states))
            return out.expand(-1, hidden_states.shape[1], -1)
        source = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        parts = attn.to_q(hidden_states), attn.to_k(source), attn.to_v(source)
        q, k, v = (part.unflatten(2, (attn.heads, -1)).transpose(1, 2) for part in parts)
        short = q.device.type == "cpu" and k.shape[2] <= SHORT
        mixed = short_attention(q, k, v) if short else F.scaled_dot_product_attention(q, k, v)
        out = attn.to_out[0](mixed.transpose(1, 2).flatten(2))
        return out


def short_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """softmax(q k^T / sqrt(d)) v by batched matrix products, (b, heads, n, d)."""
    flat = [x.flatten(0, 1) for x in (q, k, v)]
    scores = torch.baddbmm(q.new_empty(1), flat[0], flat[1].transpose(1, 2), beta=0, alpha=q.shape[-1] ** -0.5)
    return torch.bmm(scores.softmax(-1), flat[2]).view_as(q)


def lean_attention(module: nn.Module) -> None:
    """Give every plain Attention inside `module` a LeanAttention processor, in place."""
    for child in module.modules():
        if isinstance(child, Attention) and _is_plain(child):
            child.processor = LeanAttention()


def _is_plain(attn: Any) -> bool:
    """What LeanAttention assumes of a module."""
    extras = (attn.spatial_norm, attn.group_norm, attn.norm_cross, attn.norm_q, attn.norm_k, attn.residual_connection)
    simple = not any(extras) and attn.rescale_output_factor == 1 and attn.to_out[1].p == 0
    return simple and type(attn.processor) is AttnProcessor2_0


def along_time(frames: Tensor, b: int) -> Tensor:
    """(b * f, c, h, w) -> (b, c, f, h * w); a view of channels-last storage, a channels-last copy of any other."""
    rows = frames.permute(0, 2, 3, 1).contiguous()
    return rows.view(b, -1, rows.shape[1] * rows.shape[2], rows.shape[3]).permute(0, 3, 1, 2)


def across_space(clip: Tensor, shape: torch.Size) -> Tensor:
    """Inverse of `along_time`, channels-last."""
    n, _, h, w = shape
    return clip.permute(0, 2, 3, 1).reshape(n, h, w, -1).permute(0, 3, 1, 2)


def flat_conv(clip: Tensor, conv: nn.Conv3d) -> Tensor:
    """Conv3d(3, 1, 1) as Conv2d(3, 1) on (b, c, f, h * w)."""
    return F.conv2d(clip, conv.weight[..., 0], conv.bias, padding=(1, 0))


def flatten_temporal_convs(module: nn.Module) -> None:
    """Turn every Conv3d of kernel (3, 1, 1) inside `module` into a TemporalConv, in place."""
    for child in module.modules():
        plain = type(child) is nn.Conv3d and child.kernel_size == (3, 1, 1) and child.padding == (1, 0, 0)
        if plain and child.stride == (1, 1, 1) and child.dilation == (1, 1, 1) and child.groups == 1:
            child.__class__ = TemporalConv


def fold_decoder(decoder: Any) -> None:
    """Turn a temporal decoder into a FoldedDecoder of DecoderResBlocks, in place."""
    decoder.__class__ = FoldedDecoder
    for child in decoder.modules():
        if type(child) is SpatioTemporalResBlock and _is_decoders(child):
            child.__class__ = DecoderResBlock


def _is_decoders(block: Any) -> bool:
    """Switched blend, no time embedding, plain residual sum: what DecoderResBlock assumes."""
    space = block.spatial_res_block
    plain = space.output_scale_factor == 1 and space.upsample is None and space.downsample is None
    return plain and space.time_emb_proj is None and block.time_mixer.switch_spatial_to_temporal_mix
