"""Small SVD-architecture models built from nothing; the embedded model's sizes are STICKER."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from sfv.families.base import VideoModel
from sfv.families.counted import Call
from sfv.families.diffusers_needed import needs_diffusers
from sfv.families.svd.autoencoder import DOWN_ENCODER, Autoencoder, AutoencoderConfig
from sfv.families.svd.clip_tower import ClipTower, TowerConfig
from sfv.families.svd.networks import CLIP_SIZE, SVDCodec, SVDConditioner, SVDDenoiser
from sfv.families.svd.unet import DOWN, UP, UNet, UNetConfig
from sfv.settings import Defaults
from sfv.types import Cond, Latents

LAST_NORM_CONSTANT = 4.0


@dataclass(frozen=True)
class Blueprint:
    """Sizes of one SVD-architecture model."""

    size: int
    """Pixels, square."""
    frames: int
    codec_channels: tuple[int, ...]
    latent_channels: int
    unet_channels: tuple[int, ...]
    head: int
    """Channels per attention head."""
    embed: int
    """Channels of the picture's embedding."""
    time_embed: int
    """Channels per added time id."""
    vision_width: int
    vision_layers: int
    vision_patch: int


STICKER = Blueprint(128, 14, (64, 32, 64, 128), 8, (64, 96, 128), 32, 64, 64, 128, 4, 32)
TINY = Blueprint(32, 4, (32, 32), 4, (32, 64), 32, 32, 32, 32, 1, 112)


SVD_VAE: Mapping[str, Any] = {
    "block_out_channels": (128, 256, 512, 512),
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "layers_per_block": 2,
    "sample_size": 768,
}
SVD_CLIP: Mapping[str, Any] = {
    "hidden_size": 1280,
    "intermediate_size": 5120,
    "num_hidden_layers": 32,
    "num_attention_heads": 16,
    "image_size": CLIP_SIZE,
    "patch_size": 14,
    "projection_dim": 1024,
    "hidden_act": "gelu",
}
"""SVD's own, as its configuration files give them; its UNet is diffusers' default."""


def new_codec(plan: Blueprint, seed: int) -> SVDCodec:
    """A fresh codec; its posterior starts narrow (std 0.05), so that noise does not hide the first lessons."""
    torch.manual_seed(seed)
    vae = Autoencoder(_codec_config(plan))
    with torch.no_grad():
        vae.quant_conv.weight[plan.latent_channels :].zero_()
        assert vae.quant_conv.bias is not None
        vae.quant_conv.bias[plan.latent_channels :] = -6
        _start_per_frame(vae.decoder)
        _steady_last_norm(vae.decoder)
    return SVDCodec(vae)


def _codec_config(plan: Blueprint) -> AutoencoderConfig:
    return AutoencoderConfig(
        block_out_channels=plan.codec_channels,
        down_block_types=DOWN_ENCODER * len(plan.codec_channels),
        layers_per_block=1,
        latent_channels=plan.latent_channels,
        sample_size=plan.size,
        scaling_factor=1.0,
        force_upcast=False,
    )


def _start_per_frame(decoder: nn.Module) -> None:
    """Zero the temporal convolutions' outer taps: training on single frames would leave them random."""
    for module in decoder.modules():
        if isinstance(module, nn.Conv3d):
            module.weight[:, :, 0], module.weight[:, :, 2] = 0, 0


def _steady_last_norm(decoder: Any) -> None:
    """Start the decoder's last GroupNorm as nearly the identity.

    With two channels in a group, normalising removes a frame's mean and contrast, which the picture needs. If the
    second channel of each pair starts as a large constant, both statistics belong to that constant instead.
    """
    entry = decoder.up_blocks[-1].resnets[0].spatial_res_block.conv_shortcut
    if entry is None or len(entry.bias) != 2 * decoder.conv_norm_out.num_groups:
        return
    entry.weight[1::2], entry.bias[1::2] = 0, LAST_NORM_CONSTANT
    decoder.conv_norm_out.weight[0::2] = LAST_NORM_CONSTANT / 2
    decoder.conv_norm_out.bias[0::2] = LAST_NORM_CONSTANT / 2


def new_conditioner(plan: Blueprint, codec: SVDCodec, seed: int) -> SVDConditioner:
    """A fresh picture encoder of CLIP's vision architecture around a codec."""
    torch.manual_seed(seed)
    config = TowerConfig(
        hidden_size=plan.vision_width,
        intermediate_size=4 * plan.vision_width,
        num_hidden_layers=plan.vision_layers,
        num_attention_heads=plan.vision_width // 32,
        image_size=CLIP_SIZE,
        patch_size=plan.vision_patch,
        projection_dim=plan.embed,
    )
    return SVDConditioner(ClipTower(config), codec)


def new_denoiser(plan: Blueprint, seed: int) -> SVDDenoiser:
    """A fresh UNet; attention in every block but the deepest, as in SVD."""
    torch.manual_seed(seed)
    return SVDDenoiser(
        UNet(
            small_unet(
                plan.unet_channels,
                plan.head,
                sample_size=plan.size // 2 ** (len(plan.codec_channels) - 1),
                in_channels=2 * plan.latent_channels,
                out_channels=plan.latent_channels,
                cross_attention_dim=plan.embed,
                addition_time_embed_dim=plan.time_embed,
                num_frames=plan.frames,
            )
        )
    )


def small_unet(widths: tuple[int, ...], head: int, addition_time_embed_dim: int, **fields: Any) -> UNetConfig:
    """A UNet with one layer in a block and attention in every block but the deepest; `head`: channels of a head."""
    attending = len(widths) - 1
    return UNetConfig(
        down_block_types=(*DOWN[:1] * attending, DOWN[1]),
        up_block_types=(UP[1], *UP[:1] * attending),
        block_out_channels=widths,
        layers_per_block=1,
        num_attention_heads=tuple(c // head for c in widths),
        addition_time_embed_dim=addition_time_embed_dim,
        projection_class_embeddings_input_dim=3 * addition_time_embed_dim,
        **fields,
    )


SVD_SIZE, SVD_TRAINING = (576, 1024), (448, 768)
"""Height and width of SVD's clips, and of those that SF-V trains its student on."""


@dataclass(frozen=True)
class Shapes:
    """What a model's configuration files say of it: enough to count, without weights. The default is SVD's own."""

    unet: Mapping[str, Any] = field(default_factory=dict)
    stride: int = 8
    frames: int = 14
    height: int = SVD_TRAINING[0]
    width: int = SVD_TRAINING[1]
    vae: Mapping[str, Any] = field(default_factory=lambda: SVD_VAE)
    picture: Mapping[str, Any] = field(default_factory=lambda: SVD_CLIP)

    def generates(self) -> tuple[int, int]:
        """Height and width of its clips: SVD trains its student smaller than it is shown."""
        size = self.height, self.width
        return SVD_SIZE if size == SVD_TRAINING else size

    def denoiser(self) -> SVDDenoiser:
        """The UNet on the meta device: shapes without memory (SVD's: 1.52 billion weights)."""
        return SVDDenoiser(self.plain_unet())

    def codec(self) -> SVDCodec:
        """The autoencoder on the meta device."""
        return SVDCodec(Autoencoder.on_meta(**self.vae))

    def latents(self, clips: int, frames: int | None = None) -> Latents:
        """Empty latents of clips of its size, on the meta device."""
        side, channels = (self.height // self.stride, self.width // self.stride), self.plain_unet().config.out_channels
        return torch.empty(clips, frames or self.frames, channels, *side, device="meta")

    def calls(self) -> list[Call]:
        """Picture encoder, autoencoder and UNet, the UNet with guidance too."""
        from sfv.families.svd.calls import calls

        return calls(self)

    def cond(self, clips: int) -> Cond:
        """An empty condition of clips of its size, on the meta device."""
        unet, side = self.plain_unet().config, (self.height // self.stride, self.width // self.stride)
        sizes = {"image_latents": (unet.out_channels, *side), "image_embeds": (1, unet.context)}
        sizes["added_time_ids"] = (3,)
        return {name: torch.empty(clips, *size, device="meta") for name, size in sizes.items()}

    def rewritten_unet(self) -> nn.Module:
        """With every exact rewrite, as it generates."""
        from sfv.families.svd.rewrites.exact import exact

        return exact(self.plain_unet())

    def rewritten_vae(self) -> Autoencoder:
        """With every exact rewrite, as it decodes."""
        from sfv.families.svd.rewrites.exact import polyphase

        vae = Autoencoder.on_meta(**self.vae)
        polyphase(vae.decoder)
        return vae

    def plain_unet(self) -> UNet:
        """On the meta device, without rewrites."""
        return UNet.on_meta(**self.unet)

    def picture_tower(self) -> ClipTower:
        """CLIP's vision tower on the meta device (SVD's: ViT-H, 632 million weights)."""
        return ClipTower.on_meta(**self.picture)

    def stock_unet(self) -> Any:
        """diffusers' UNet on the meta device."""
        return _stock("UNetSpatioTemporalConditionModel", self.unet)

    def stock_vae(self) -> Any:
        """diffusers' autoencoder on the meta device (SVD's: 97.7 million weights)."""
        return _stock("AutoencoderKLTemporalDecoder", self.vae)


def _stock(cls: str, config: Mapping[str, Any]) -> Any:
    with needs_diffusers("counting diffusers' own networks"):
        from sfv.families.svd.stock_networks import stock_on_meta

    return stock_on_meta(cls, config)


def sized(name: str) -> Shapes:
    """Of "svd" or "svd-xt"."""
    return Shapes(frames=25 if name == "svd-xt" else 14)


def shapes(plan: Blueprint) -> Shapes:
    """Those of a blueprint."""
    with torch.device("meta"):
        config, codec = new_denoiser(plan, 0).unet.config, _codec_config(plan)
    stride = 2 ** (len(plan.codec_channels) - 1)
    return Shapes(config.model_dump(), stride, plan.frames, plan.size, plan.size, vae=codec.model_dump())


def new_model(plan: Blueprint, seed: int) -> VideoModel:
    """A whole fresh model under a noise law for small latents: sigma up to 200 hides all of 14x8x16x16 numbers."""
    codec = new_codec(plan, seed)
    defaults = Defaults(
        frames=plan.frames, height=plan.size, width=plan.size, fps=12, motion=60, steps=25, guidance=1.5
    )
    return VideoModel(
        name="new",
        family="svd",
        denoiser=new_denoiser(plan, seed),
        codec=codec,
        conditioner=new_conditioner(plan, codec, seed),
        sigma_min=0.002,
        sigma_max=200.0,
        rho=7.0,
        defaults=defaults,
        hash="",
    )
