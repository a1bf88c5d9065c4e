"""A rewritten SVD for a GPU: convolutions' weights channels-last, the kernels of sfv.kernels where torch is slow.

In place on the modules of rewrites/exact.py, which are ours; `for_gpu` leaves the given model as it is. For
generation alone: the kernels have no gradients.
"""

from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sfv.families.base import VideoModel
from sfv.families.framewise import ActiveNorm
from sfv.families.svd.autoencoder import DecoderResBlock, MapAttention
from sfv.families.svd.blocks import GEGLU, Attention
from sfv.families.svd.networks import SVDCodec, SVDDenoiser
from sfv.families.svd.rewrites.exact import FoldedTransformer, FoldedUNet, PolyphaseUpsample, shared_copy
from sfv.kernels.geglu import geglu
from sfv.kernels.group_norm_silu import group_norm_silu, takes
from sfv.kernels.scaled_softmax import LONGEST, scaled_softmax
from sfv.kernels.temporal_attention import takes as takes_frames
from sfv.kernels.temporal_attention import temporal_attention

FLASH = 256
"""Widest head of flash kernels."""


def for_gpu(model: VideoModel) -> VideoModel:
    """A rewritten model with kernels in denoiser and codec; what does not change is shared."""
    assert isinstance(model.denoiser, SVDDenoiser) and isinstance(model.codec, SVDCodec)
    denoiser, codec = shared_copy(model.denoiser), shared_copy(model.codec)
    for network in (denoiser.unet, codec.vae):
        take_kernels(network)
        lay_out(network)
    return replace(model, denoiser=denoiser, codec=codec, conditioner=model.conditioner.around(codec))


def take_kernels(network: nn.Module) -> None:
    """Swap norms, GEGLU, attention over time, wide attention, blends and upsampling, in place."""
    for child in network.modules():
        if type(child) is nn.GroupNorm and child.affine:
            child.__class__ = SplitNorm
        elif type(child) in SWAPS:
            child.__class__ = SWAPS[type(child)]
        elif type(child) is MapAttention and child.to_q.out_features > FLASH:
            child.__class__ = WideAttention
        elif type(child) is Attention and not child.crosses:
            child.__class__ = PackedAttention
    for child in list(network.modules()):
        if isinstance(child, BlendedResBlock | PackedAttention):
            child.fold()


def lay_out(network: nn.Module) -> None:
    """Weights of convolutions channels-last, as copies of this network's own."""
    for child in network.modules():
        if isinstance(child, nn.Conv2d | nn.Conv3d):
            order = torch.channels_last if child.weight.dim() == 4 else torch.channels_last_3d
            child.weight = nn.Parameter(child.weight.detach().contiguous(memory_format=order), False)
        if isinstance(child, PolyphaseUpsample):
            child.phases = child.phases.contiguous(memory_format=torch.channels_last)


class SplitNorm(ActiveNorm):
    """GroupNorm by the kernel for channels-last maps; torch's own for any other."""

    def forward(self, input: Tensor) -> Tensor:
        """(n, c, ...) -> the same."""
        return self._run(input, False) if takes(input, self.num_groups) else super().forward(input)

    def active(self, maps: Tensor, spare: bool) -> Tensor:
        """With SiLU after it, in one pass."""
        return self._run(maps, True) if takes(maps, self.num_groups) else super().active(maps, spare)

    def _run(self, maps: Tensor, silu: bool) -> Tensor:
        return group_norm_silu(maps, self.num_groups, self.weight, self.bias, self.eps, silu)


class FusedGEGLU(GEGLU):
    """The projection, then both halves in one pass."""

    def forward(self, tokens: Tensor) -> Tensor:
        """(..., c) -> (..., o)."""
        return geglu(self.proj(tokens))


class LastUNet(FoldedUNet):
    """Maps are channels-last from the first convolution on."""

    last = True


class FramewiseTransformer(FoldedTransformer):
    """Tokens stay frame by frame through the temporal block: no transposes before or after."""

    last = True

    def over_time(self, block: Any, tokens: Tensor, value: Tensor, b: int) -> Tensor:
        """(b * f, s, c) -> the same."""
        f, attn = len(tokens) // b, block.attn1
        if not takes_frames(tokens, f, attn.heads):
            return super().over_time(block, tokens, value, b)
        tokens = block.ff_in(block.norm_in(tokens)).add_(tokens)
        mixed = temporal_attention(*attn.parts(block.norm1(tokens)), f, attn.heads)
        tokens = attn.to_out[0](mixed).add_(tokens).add_(value.repeat_interleave(f, 0))
        out: Tensor = block.ff(block.norm3(tokens)).add_(tokens)
        return out


class PackedAttention(Attention):
    """Self-attention whose queries, keys and values are one matrix product."""

    packed: Tensor

    def fold(self) -> None:
        """Join the three weights; once."""
        weights = [layer.weight.detach() for layer in (self.to_q, self.to_k, self.to_v)]
        self.register_buffer("packed", torch.cat(weights), persistent=False)

    def parts(self, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(n, s, c) -> queries, keys and values of that shape."""
        q, k, v = F.linear(tokens, self.packed).chunk(3, -1)
        return q, k, v

    def forward(self, tokens: Tensor, context: Tensor | None = None) -> Tensor:
        """(n, s, c) -> (n, s, c)."""
        assert context is None
        heads = (p.unflatten(2, (self.heads, -1)).transpose(1, 2) for p in self.parts(tokens))
        out: Tensor = self.to_out[0](F.scaled_dot_product_attention(*heads).transpose(1, 2).flatten(2))
        return out


class WideAttention(MapAttention):
    """One head of many channels over the positions of each map: two matrix products around one pass of softmax."""

    def forward(self, maps: Tensor) -> Tensor:
        """(n, c, h, w), channels last -> the same, added to what came."""
        n, c, h, w = maps.shape
        tokens = self.group_norm(maps).permute(0, 2, 3, 1).reshape(n, h * w, c)
        parts = zip(self.to_q(tokens), self.to_k(tokens), self.to_v(tokens), strict=True)
        mixed = torch.stack([wide_attention(q, k, v) for q, k, v in parts])
        out: Tensor = self.to_out[0](mixed).view(n, h, w, -1).permute(0, 3, 1, 2)
        return out.add_(maps)


def wide_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """softmax(q k^T / sqrt(d)) v for one head, (n, d); scores in float32."""
    half = q.is_cuda and q.dtype != torch.float32
    scores = torch.mm(q, k.T, out_dtype=torch.float32) if half else q.float() @ k.float().T  # type: ignore[call-overload]
    if scores.shape[1] > LONGEST:
        return (scores * q.shape[1] ** -0.5).softmax(-1).to(v.dtype) @ v
    return scaled_softmax(scores, q.shape[1] ** -0.5, v.dtype) @ v


class BlendedResBlock(DecoderResBlock):
    """The decoder's block with its blend's share in the last convolution's weights."""

    def fold(self) -> None:
        """Scale conv2; once."""
        share, conv = self.time_mixer.mix_factor.detach().float().sigmoid(), self.temporal_res_block.conv2
        for name, p in list(conv.named_parameters()):
            setattr(conv, name, nn.Parameter((share * p.detach().float()).to(p.dtype), False))

    def join(self, xs: Tensor, u: Tensor) -> Tensor:
        """xs + u."""
        return u.add_(xs)


class WovenUpsample(PolyphaseUpsample):
    """The four parities written straight to their places."""

    def weave(self, every: Tensor, y: int, x: int) -> Tensor:
        """(n, 4, o, y + 1, x + 1) -> (n, o, 2y, 2x)."""
        n, _, o = every.shape[:3]
        out = every.new_empty((n, o, 2 * y, 2 * x)).contiguous(memory_format=torch.channels_last)
        for a in (0, 1):
            for d in (0, 1):
                out[:, :, a::2, d::2] = every[:, 2 * a + d, :, a : a + y, d : d + x]
        return out


SWAPS: dict[type, type] = {
    FoldedUNet: LastUNet,
    GEGLU: FusedGEGLU,
    FoldedTransformer: FramewiseTransformer,
    DecoderResBlock: BlendedResBlock,
    PolyphaseUpsample: WovenUpsample,
}
"""Classes -> those with kernels."""
