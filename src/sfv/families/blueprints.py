"""Small SVD-architecture models built from nothing; the embedded model's sizes are STICKER."""

from dataclasses import dataclass

import torch
from diffusers import AutoencoderKLTemporalDecoder, UNetSpatioTemporalConditionModel

from sfv.families.svd import SVDCodec


@dataclass(frozen=True)
class Blueprint:
    """Sizes of one SVD-architecture model."""

    size: int  # pixels, square
    frames: int
    codec_channels: tuple[int, ...]
    latent_channels: int
    unet_channels: tuple[int, ...]
    head: int  # channels per attention head
    embed: int  # channels of the picture's embedding
    time_embed: int  # channels per added time id
    vision_width: int
    vision_layers: int
    vision_patch: int


STICKER = Blueprint(128, 14, (32, 64, 96, 128), 8, (64, 96, 128), 32, 64, 64, 128, 4, 32)
TINY = Blueprint(32, 4, (32, 32), 4, (32, 64), 32, 32, 32, 32, 1, 112)


def new_codec(plan: Blueprint, seed: int) -> SVDCodec:
    """A fresh codec; its temporal blend starts half spatial, half temporal, as the architecture does."""
    torch.manual_seed(seed)
    levels = len(plan.codec_channels)
    return SVDCodec(
        AutoencoderKLTemporalDecoder(
            block_out_channels=plan.codec_channels,
            down_block_types=("DownEncoderBlock2D",) * levels,
            layers_per_block=1,
            latent_channels=plan.latent_channels,
            sample_size=plan.size,
            scaling_factor=1.0,
            force_upcast=False,
        )
    )
