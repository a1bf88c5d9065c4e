"""Wan2.2's transformer (2503.20314) as a denoiser: rectified flow, and a first latent frame that is given.

"The pipeline" below is diffusers' WanImageToVideoPipeline with expand_timesteps, whose numbers this module reproduces:
the first latent frame is the picture, clean, and its tokens have time 0; all others are noised and have time t.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sfv.edm.denoiser import Denoiser, per_clip
from sfv.edm.preconditioning import Coefficients, rectified_flow
from sfv.errors import SfvError
from sfv.families.svd.checkpointing import Recomputed
from sfv.families.svd.lora import adapter_state, adapters, add_adapters, merge_adapters
from sfv.types import Cond, Features, Latents, Sigma

TIMES = 1000
"""Timesteps of its training; c_noise is t times this."""
NEAR_ZERO = 1e-6
"""Below this t the picture's velocity is not computed from the noise (it would be divided by t); D is then nearly x."""
BLOCKS = "blocks."
"""What the names of layers with adapters begin with."""


class WanDenoiser(Denoiser):
    """Wan's transformer under rectified flow.

    Cond: first (b, 1, c, y, x), the picture as scaled latents; text (b, words, e), embedded words and zeros after them.
    Taps show tokens, laid out again as frames, after a quarter, a half and three quarters of the blocks (a choice of
    ours: which blocks judge best at this size has not been measured).
    """

    def __init__(self, transformer: Any) -> None:
        super().__init__()
        self.transformer = transformer
        config = transformer.config
        self.taps = taps(len(transformer.blocks))
        self.feature_channels = (config.num_attention_heads * config.attention_head_dim,) * len(self.taps)
        self.embed_width = config.in_channels

    @property
    def dtype(self) -> torch.dtype:
        """Of the patch embedding: norms and the time embedding stay in float32 when the rest is in 16 bits, as in
        diffusers."""
        return self.transformer.patch_embedding.weight.dtype

    def embedding(self, cond: Cond) -> Tensor:
        """Mean of each channel of the picture's latents."""
        return cond["first"].float().mean((1, 3, 4))

    def coefficients(self, sigma: Sigma) -> Coefficients:
        """Velocity n - x0 at t = sigma / (1 + sigma)."""
        return rectified_flow(sigma)

    def network(self, x_in: Latents, c_noise: Tensor, cond: Cond) -> Latents:
        """Velocities. The first frame's is known, (x_t - x0) / t, so that D returns the picture there."""
        frames, times = self._input(x_in, c_noise, cond)
        velocity = self.transformer(frames, times, cond["text"].to(self.dtype), return_dict=False)[0].transpose(1, 2)
        known = (x_in[:, :1] - cond["first"].to(x_in)) / per_clip(c_noise / TIMES).clamp(min=NEAR_ZERO)
        return torch.cat([known, velocity[:, 1:].to(known)], 1)

    def encode(self, x_in: Latents, c_noise: Tensor, cond: Cond) -> list[Features]:
        """Blocks up to the last tap; bit-equal to hooks. The steps are those of diffusers' forward."""
        network = self.transformer
        frames, times = self._input(x_in, c_noise, cond)
        rotary = network.rope(frames)
        patches = network.patch_embedding(frames)
        h = patches.flatten(2).transpose(1, 2).contiguous()
        _, modulation, words, _ = network.condition_embedder(
            times.flatten(), cond["text"].to(self.dtype), None, timestep_seq_len=times.shape[1]
        )
        modulation = modulation.unflatten(2, (6, -1))
        seen = []
        for i, block in enumerate(network.blocks[: self.taps[-1]], start=1):
            h = block(h, words, modulation, rotary)
            if i in self.taps:
                seen.append(h.unflatten(1, patches.shape[2:]).movedim(-1, 2))
        return seen

    def _input(self, x_in: Latents, c_noise: Tensor, cond: Cond) -> tuple[Tensor, Float[Tensor, "b tokens"]]:
        """Frames (b, c, f, y, x) with the picture first, and the time of every token, 0 in the first frame."""
        _, rows, columns = self.transformer.config.patch_size
        f, y, x = x_in.shape[1], x_in.shape[3] // rows, x_in.shape[4] // columns
        noised = torch.ones(f, device=x_in.device)
        noised[0] = 0
        frames = torch.cat([cond["first"].to(x_in), x_in[:, 1:]], 1).transpose(1, 2)
        return frames.to(self.dtype), c_noise[:, None] * noised.repeat_interleave(y * x)

    def blocks(self) -> list[nn.Module]:
        """Transformer blocks."""
        return list(self.transformer.blocks)

    def recompute(self) -> None:
        """Whole transformer blocks."""
        for block in self.transformer.blocks:
            if not isinstance(block.forward, Recomputed):
                block.forward = Recomputed(block)

    def adapt(self, rank: int, over_time: bool = False) -> list[nn.Parameter]:
        """Adapters on every linear layer of the blocks: attention to frames and to words, and what lies between."""
        if over_time:
            raise SfvError("lora_convs: this transformer has no convolutions over time; leave it out")
        return add_adapters(self.transformer, rank, BLOCKS)

    def plain(self) -> AbstractContextManager[None]:
        """Adapters off."""
        return adapters(self.transformer, on=False)

    def adapter_state(self) -> dict[str, Tensor]:
        """PEFT's keys, as diffusers' `load_lora_weights` reads them."""
        return adapter_state(self.transformer, "transformer.")

    def merge(self) -> None:
        """Adapters into weights."""
        merge_adapters(self.transformer)


def taps(blocks: int) -> Sequence[int]:
    """After how many blocks features are taken."""
    return sorted({max(1, round(share * blocks)) for share in (0.25, 0.5, 0.75)})
