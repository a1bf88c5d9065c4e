"""Models of whole loops for generation: SVD's exact rewrites for the UNet, networks run by something else."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from torch import nn

from sfv.families.base import VideoModel
from sfv.families.motion.networks import MotionCodec, MotionConditioner, Packed
from sfv.families.svd.networks import SVDDenoiser
from sfv.families.svd.rewrites.exact import exact, shared_copy


def rewritten(model: VideoModel) -> VideoModel:
    """A model with every exact rewrite of its UNet; it shares what is not changed with the given one."""
    assert isinstance(model.denoiser, SVDDenoiser)
    return replace(model, denoiser=SVDDenoiser(exact(model.denoiser.unet)))


def staged(model: VideoModel, wrap: Callable[[str, nn.Module], Any]) -> VideoModel:
    """A model whose UNet and decoder go through `wrap(stage, network)`: unet, decode."""
    assert isinstance(model.codec, MotionCodec)
    denoiser, codec = shared_copy(model.denoiser), shared_copy(model.codec)
    denoiser.unet, packed = wrap("unet", denoiser.unet), Packed(codec)
    run = wrap("decode", packed)
    codec.runs = [] if run is packed else [run]
    return replace(model, denoiser=denoiser, codec=codec)


def staged_pictures(model: VideoModel, wrap: Callable[[str, nn.Module], Any]) -> VideoModel:
    """A model whose picture tower goes through `wrap("picture", network)` too."""
    assert isinstance(model.conditioner, MotionConditioner)
    conditioner = shared_copy(model.conditioner)
    conditioner.tower = wrap("picture", conditioner.tower)
    return replace(model, conditioner=conditioner)


def for_gpu(model: VideoModel) -> VideoModel:
    """A rewritten model with SVD's kernels in its UNet, which need Triton."""
    from sfv.families.svd.rewrites.gpu import lay_out, take_kernels

    denoiser = shared_copy(model.denoiser)
    take_kernels(denoiser.unet)
    lay_out(denoiser.unet)
    return replace(model, denoiser=denoiser)
