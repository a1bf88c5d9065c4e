"""Stable Video Diffusion (2311.15127) as a denoiser, a codec and a conditioner; every quirk with its source."""

from typing import Any

import torch
from diffusers import AutoencoderKLTemporalDecoder, UNetSpatioTemporalConditionModel
from torch import Tensor

from sfv.errors import SfvError
from sfv.families.base import Codec
from sfv.types import Latents, Pixels, RawLatents


class SVDCodec(Codec):
    """AutoencoderKLTemporalDecoder. Latents are raw latents times `scaling_factor`."""

    def __init__(self, vae: AutoencoderKLTemporalDecoder) -> None:
        super().__init__()
        self.vae = vae

    @property
    def scale(self) -> float:
        """SVD multiplies video latents, not condition latents, by this (0.18215)."""
        return float(self.vae.config.scaling_factor)

    @property
    def stride(self) -> int:
        """Pixels per latent, along one side."""
        return int(2 ** (len(self.vae.config.block_out_channels) - 1))

    def latent_shape(self, frames: int, height: int, width: int) -> tuple[int, int, int, int]:
        """(f, c, h, w)."""
        if height % self.stride or width % self.stride:
            raise SfvError(f"height and width must be multiples of {self.stride}, not {height}x{width}")
        return frames, int(self.vae.config.latent_channels), height // self.stride, width // self.stride

    def posterior(self, pixels: Pixels) -> tuple[RawLatents, RawLatents]:
        """Mean and log-variance."""
        b = len(pixels)
        moments = self.vae.quant_conv(self.vae.encoder(pixels.flatten(0, 1)))
        mean, log_variance = moments.unflatten(0, (b, -1)).chunk(2, dim=2)
        return mean, log_variance

    def encode_raw(self, pixels: Pixels) -> RawLatents:
        """Posterior mode, not scaled: what SVD's condition latent is."""
        return self.posterior(pixels)[0]

    def encode(self, pixels: Pixels) -> Latents:
        """Posterior mode times the scaling factor."""
        return self.encode_raw(pixels) * self.scale

    def decode_raw(self, raw: RawLatents) -> Pixels:
        """All frames of a clip together."""
        b, f = raw.shape[:2]
        out: Tensor = self.vae.decode(raw.flatten(0, 1), num_frames=f).sample
        return out.unflatten(0, (b, f))

    def decode(self, latents: Latents, chunk: int | None = None) -> Pixels:
        """`chunk` changes the output (temporal statistics and padding are per chunk), so None is the default."""
        raw = (latents / self.scale).to(self.vae.dtype)
        parts = raw.split(chunk or raw.shape[1], dim=1)
        return torch.cat([self.decode_raw(p) for p in parts], dim=1).float()
