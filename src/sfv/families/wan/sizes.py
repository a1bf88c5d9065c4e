"""What Wan2.2 TI2V-5B's configuration files say: enough to count it, without weights."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKLWan, WanTransformer3DModel

from sfv.errors import SfvError
from sfv.families.counted import Call, half, halved
from sfv.families.svd.folder import read_defaults
from sfv.families.wan.codec import WanCodec, uneven
from sfv.families.wan.folder import VAE as VAE_FOLDER
from sfv.families.wan.folder import check_layout, own_defaults, part
from sfv.families.wan.network import described_by, on_meta
from sfv.families.wan.networks import WanDenoiser
from sfv.families.wan.prompts import LENGTH
from sfv.types import Cond, Latents

TRANSFORMER: Mapping[str, Any] = {
    "patch_size": (1, 2, 2),
    "num_attention_heads": 24,
    "attention_head_dim": 128,
    "in_channels": 48,
    "out_channels": 48,
    "text_dim": 4096,
    "freq_dim": 256,
    "ffn_dim": 14336,
    "num_layers": 30,
}
VAE: Mapping[str, Any] = {
    "base_dim": 160,
    "decoder_base_dim": 256,
    "z_dim": 48,
    "dim_mult": [1, 2, 4, 4],
    "num_res_blocks": 2,
    "temperal_downsample": [False, True, True],
    "latents_mean": (0.0,) * 48,
    "latents_std": (1.0,) * 48,
    "is_residual": True,
    "in_channels": 12,
    "out_channels": 12,
    "patch_size": 2,
    "scale_factor_temporal": 4,
    "scale_factor_spatial": 16,
}
"""Wan2.2 TI2V-5B's own; the statistics of its latents are left out, which count nothing."""
WAN_SIZE, WAN_TRAINING, WAN_FRAMES = (704, 1280), (480, 832), 81
"""Height and width of its clips, and of those that the presets train on, with their frames."""


@dataclass(frozen=True)
class WanShapes:
    """Sizes of a Wan model and of the clips that are counted. The default is Wan2.2 TI2V-5B."""

    transformer: Mapping[str, Any] = field(default_factory=lambda: TRANSFORMER)
    frames: int = WAN_FRAMES
    height: int = WAN_TRAINING[0]
    width: int = WAN_TRAINING[1]
    vae: Mapping[str, Any] = field(default_factory=lambda: VAE)

    def __post_init__(self) -> None:
        """SfvError for a number of frames that its latents do not hold."""
        every = int(self.vae["scale_factor_temporal"])
        if (self.frames - 1) % every:
            raise SfvError(f"frames {self.frames}: {uneven(self.frames, every)}")

    @property
    def stride(self) -> int:
        """Height and width are multiples of it."""
        return int(self.codec().multiple)

    def codec(self) -> WanCodec:
        """The autoencoder on the meta device."""
        return WanCodec(on_meta(AutoencoderKLWan, dict(self.vae)), int(self.transformer["patch_size"][1]))

    def generates(self) -> tuple[int, int]:
        """Height and width of its clips: the 5B model trains its student smaller than it is shown."""
        size = self.height, self.width
        return WAN_SIZE if size == WAN_TRAINING else size

    def denoiser(self) -> WanDenoiser:
        """The transformer on the meta device: shapes without memory."""
        return WanDenoiser(on_meta(WanTransformer3DModel, dict(self.transformer)))

    def latents(self, clips: int, frames: int | None = None) -> Latents:
        """Empty latents of clips of its size, or of so many latent frames."""
        whole, *rest = self.codec().latent_shape(self.frames, self.height, self.width)
        return torch.empty(clips, frames or whole, *rest, device="meta")

    def cond(self, clips: int) -> Cond:
        """An empty condition of such clips."""
        words = torch.empty(clips, LENGTH, self.transformer["text_dim"], device="meta")
        return {"first": self.latents(clips, 1), "text": words}

    def calls(self) -> list[Call]:
        """Autoencoder and transformer, the transformer with guidance too; the text encoder works on the CPU, once."""
        vae, network = halved(on_meta(AutoencoderKLWan, dict(self.vae))), halved(self.denoiser())
        latents = self.latents(1).half().transpose(1, 2)
        picture = half(1, 3, 1, self.height, self.width)
        encode, decode = (lambda: vae.encode(picture)), (lambda: vae.decode(latents))
        once, guided = (self._called(network, clips) for clips in (1, 2))
        return [
            Call("encode", "enter", vae.encoder, encode, encode),
            Call("transformer", "step", network, once, once),
            Call("transformer, guided", "guided", network, guided, guided),
            Call("decode", "leave", vae.decoder, decode, decode),
        ]

    def _called(self, network: WanDenoiser, clips: int) -> Callable[[], object]:
        x, cond = self.latents(clips), self.cond(clips)
        return lambda: network.network(x, half(clips).float(), cond)


def shapes(folder: Path, unet: str) -> WanShapes:
    """What a folder's configuration files say, without opening weights; the clip's size is its own default."""
    check_layout(folder)
    networks = {part(unet): WanTransformer3DModel, VAE_FOLDER: AutoencoderKLWan}
    transformer, vae = (
        {k: v for k, v in described_by(cls, folder / sub).config.items() if not k.startswith("_")}
        for sub, cls in networks.items()
    )
    size = read_defaults(folder / part(unet), own_defaults())
    return WanShapes(transformer, size.frames, size.height, size.width, vae)
