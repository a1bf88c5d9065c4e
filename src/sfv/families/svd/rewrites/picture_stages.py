"""The networks that see the picture, run by something else: the codec's encoder and CLIP."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from sfv.families.base import VideoModel
from sfv.families.svd.networks import SVDConditioner
from sfv.families.svd.rewrites.exact import shared_copy


def staged_pictures(model: VideoModel, wrap: Callable[[str, nn.Module], Any]) -> VideoModel:
    """A model whose codec's encoder and picture tower go through `wrap(stage, network)` too: encode and picture.

    An encoder whose weights are cast for every call is left as it is: what runs it may keep addresses of weights.
    """
    assert isinstance(model.conditioner, SVDConditioner)
    codec, clip = shared_copy(model.codec), shared_copy(model.conditioner.image_encoder)
    if not (codec.vae.dtype == torch.float16 and codec.vae.config.force_upcast):
        codec.vae.encoder = wrap("encode", codec.vae.encoder)
    tower: Any = Tower(wrap("picture", clip), clip.dtype)
    return replace(model, codec=codec, conditioner=SVDConditioner(tower, codec))


class Tower(nn.Module):
    """A picture tower that something else runs."""

    def __init__(self, run: nn.Module, dtype: Any) -> None:
        super().__init__()
        self.run, self.dtype = run, dtype

    def forward(self, pictures: Tensor) -> Tensor:
        """(b, 3, 224, 224) -> (b, e)."""
        out: Tensor = self.run(pictures)
        return out
