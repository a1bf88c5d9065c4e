"""Wan2.2's causal video autoencoder as a codec: 4 x 16 x 16, the first frame by itself."""

from typing import Any

import torch
from torch import Tensor

from sfv.errors import SfvError
from sfv.families.base import Codec
from sfv.families.svd.networks import computing_in
from sfv.types import Latents, Picture, Pixels


class WanCodec(Codec):
    """diffusers' AutoencoderKLWan. Latents are its own less their mean, over their spread, channel by channel.

    Frames are 4k + 1: the first has latents of its own, which depend on nothing else, and every four after it share
    theirs. `patch`: latents to a token of the transformer along one side, so height and width are multiples of
    stride x patch (Wan2.2: 32 pixels).
    """

    mean: Tensor
    spread: Tensor

    def __init__(self, vae: Any, patch: int) -> None:
        super().__init__()
        self.vae = vae
        self.frame_stride, self.stride = vae.config.scale_factor_temporal, vae.config.scale_factor_spatial
        self.multiple: int = self.stride * patch
        for name, values in (("mean", vae.config.latents_mean), ("spread", vae.config.latents_std)):
            self.register_buffer(name, torch.tensor(values)[:, None, None], persistent=False)

    def latent_shape(self, frames: int, height: int, width: int) -> tuple[int, int, int, int]:
        """(f, c, h, w)."""
        if height % self.multiple or width % self.multiple:
            raise SfvError(f"height and width must be multiples of {self.multiple}, not {height}x{width}")
        if (frames - 1) % self.frame_stride:
            raise SfvError(f"frames {frames}: {uneven(frames, self.frame_stride)}")
        whole = 1 + (frames - 1) // self.frame_stride
        return whole, self.vae.config.z_dim, height // self.stride, width // self.stride

    def encode(self, pixels: Pixels) -> Latents:
        """Posterior mode, standardised."""
        with computing_in(self.encode_dtype, self.vae):
            raw = self.vae.encode(pixels.transpose(1, 2).to(self.vae.dtype)).latent_dist.mode()
        return (raw.transpose(1, 2).float() - self.mean) / self.spread

    def decode(self, latents: Latents, chunk: int | None = None, picture: Picture | None = None) -> Pixels:
        """Clips one at a time, and a latent frame at a time inside, whatever `chunk` says: the network keeps what it
        needs of the frames before, so the result is that of the whole clip. Clamped, as diffusers does."""
        raw = (latents.float() * self.spread + self.mean).to(self.vae.dtype).transpose(1, 2)
        with computing_in(self.decode_dtype, self.vae):
            clips = [self.vae.decode(clip, return_dict=False)[0] for clip in raw.split(1)]
        return torch.cat(clips).float().transpose(1, 2)


def uneven(frames: int, every: int) -> str:
    """What is wrong with a number of frames, and the nearest that would do."""
    below = max(1, 1 + (frames - 1) // every * every)
    return f"this codec takes 1 frame and {every} for each latent after it; ask for {below} or {below + every}"
