"""Stable Video Diffusion (2311.15127) as a denoiser, a codec and a conditioner; every quirk with its source.

"The pipeline" below is diffusers' StableVideoDiffusionPipeline, whose numbers this module reproduces.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call

from sfv.edm.denoiser import Denoiser, per_clip
from sfv.edm.preconditioning import Coefficients, v_prediction
from sfv.errors import SfvError
from sfv.families.base import Codec, Conditioner, FrameCodec
from sfv.families.framewise import at_most, frame_wise
from sfv.families.svd.autoencoder import Autoencoder
from sfv.families.svd.checkpointing import recompute
from sfv.families.svd.lora import adapter_state, adapters, add_adapters, merge_adapters
from sfv.families.svd.unet import UNet
from sfv.types import Cond, Features, Latents, Picture, Pixels, RawLatents, Sigma

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
CLIP_SIZE = 224


class SVDDenoiser(Denoiser):
    """SVD's UNet under v-prediction.

    Cond: image_latents (b, c, h, w) raw, repeated over frames and concatenated on channels; image_embeds
    (b, 1, e), one cross-attention token; added_time_ids (b, 3) = [fps - 1, motion bucket, noise_aug].
    """

    def __init__(self, unet: UNet) -> None:
        super().__init__()
        self.unet = unet
        self.feature_channels = unet.config.block_out_channels
        self.embed_width = unet.config.context

    def embedding(self, cond: Cond) -> Tensor:
        """The picture's token: SVD's cross-attention sees nothing else."""
        return cond["image_embeds"].float().mean(1)

    def coefficients(self, sigma: Sigma) -> Coefficients:
        """SVD is EDM with sigma_data = 1 and c_out negated."""
        return v_prediction(sigma)

    def network(self, x_in: Latents, c_noise: Tensor, cond: Cond) -> Latents:
        """One call of the UNet; its "timestep" is c_noise = ln(sigma) / 4."""
        out: Tensor = self.unet(
            _with_picture(x_in, cond).to(self.dtype),
            c_noise,
            encoder_hidden_states=cond["image_embeds"].to(self.dtype),
            added_time_ids=cond["added_time_ids"].to(self.dtype),
        )
        return out

    def encode(self, x_in: Latents, c_noise: Tensor, cond: Cond) -> list[Features]:
        """The down path alone; bit-equal to hooks."""
        b, f = x_in.shape[:2]
        embedding = self.unet.embed(c_noise, cond["added_time_ids"].to(self.dtype))
        entered = self.unet.enter(_with_picture(x_in, cond).to(self.dtype))
        blocks = self.unet.down(entered, embedding, cond["image_embeds"].to(self.dtype))
        return [h.unflatten(0, (b, f)) for h, _ in blocks]

    def learnable(self) -> list[nn.Parameter]:
        """All but the queries, keys and norms before cross-attention: softmax over one token is constant."""
        idle = (".attn2.to_q.", ".attn2.to_k.", ".norm2.")
        block = "transformer_blocks"
        return [p for n, p in self.named_parameters() if not (block in n and any(i in n for i in idle))]

    def blocks(self) -> list[nn.Module]:
        """Down, mid and up blocks."""
        return [*self.unet.down_blocks, self.unet.mid_block, *self.unet.up_blocks]

    def recompute(self) -> None:
        """Residual blocks and whole spatio-temporal transformers."""
        recompute(self.unet)

    def adapt(self, rank: int, over_time: bool = False) -> list[nn.Parameter]:
        """Adapters on every linear layer of the transformers; `over_time`: on the convolutions over time too."""
        return add_adapters(self.unet, rank, over_time=over_time)

    def plain(self) -> AbstractContextManager[None]:
        """Adapters off."""
        return adapters(self.unet, on=False)

    def adapter_state(self) -> dict[str, Tensor]:
        """PEFT's keys, for `peft.set_peft_model_state_dict`; diffusers has no loader on the SVD pipeline."""
        return adapter_state(self.unet)

    def merge(self) -> None:
        """Adapters into weights."""
        merge_adapters(self.unet)


def _with_picture(x_in: Latents, cond: Cond) -> Tensor:
    picture = cond["image_latents"].to(x_in.dtype)[:, None].expand(-1, x_in.shape[1], -1, -1, -1)
    return torch.cat([x_in, picture], dim=2)


class SVDCodec(FrameCodec):
    """SVD's autoencoder. Latents are raw latents times `scale` (SVD: 0.18215)."""

    def __init__(self, vae: Autoencoder) -> None:
        super().__init__()
        self.vae = vae

    @property
    def scale(self) -> float:
        """Multiplies video latents, never condition latents."""
        return self.vae.config.scaling_factor

    @property
    def stride(self) -> int:
        """Pixels per latent, along one side."""
        return int(2 ** (len(self.vae.config.block_out_channels) - 1))

    def latent_shape(self, frames: int, height: int, width: int) -> tuple[int, int, int, int]:
        """(f, c, h, w)."""
        if height % self.stride or width % self.stride:
            raise SfvError(f"height and width must be multiples of {self.stride}, not {height}x{width}")
        return frames, self.vae.config.latent_channels, height // self.stride, width // self.stride

    def posterior(self, pixels: Pixels) -> tuple[RawLatents, RawLatents]:
        """Mean and log-variance."""
        with computing_in(self.encode_dtype, self.vae):
            moments = frame_wise(self._encoding(), pixels.flatten(0, 1))
        mean, log_variance = moments.unflatten(0, (len(pixels), -1)).chunk(2, dim=2)
        return mean, log_variance

    def _encoding(self) -> Callable[[Tensor], Tensor]:
        """The encoder; in fp32 where it is stored in fp16 and the configuration says that this overflows.

        The pipeline casts the weights there and back; here they stay as they are.
        """
        encoder, quant = self.vae.encoder, self.vae.quant_conv
        if not self._overflows():
            return self.vae.moments
        wide = [{k: v.float() for k, v in m.state_dict().items()} for m in (encoder, quant)]
        return lambda p: functional_call(quant, wide[1], functional_call(encoder, wide[0], p.float()))

    def _overflows(self) -> bool:
        return bool(self.vae.dtype == torch.float16 and self.vae.config.force_upcast)

    def encode_raw(self, pixels: Pixels) -> RawLatents:
        """Posterior mode, not scaled: what SVD's condition latent is. fp32 if the weights force an upcast."""
        return self.posterior(pixels if self._overflows() else pixels.to(self.vae.dtype))[0]

    def encode(self, pixels: Pixels) -> Latents:
        """Posterior mode times the scaling factor."""
        return self.encode_raw(pixels).float() * self.scale

    def decode_raw(self, raw: RawLatents) -> Pixels:
        """All frames of a clip together."""
        b, f = raw.shape[:2]
        frames = raw.flatten(0, 1).contiguous(memory_format=torch.channels_last)
        return self.vae.decode(frames, f).unflatten(0, (b, f))

    def decode(self, latents: Latents, chunk: int | None = None, picture: Picture | None = None) -> Pixels:
        """`chunk` changes the output (temporal statistics and padding are per chunk), so None is the default.

        Clips are decoded one at a time: memory does not grow with the batch, and a clip does not depend on it.
        """
        raw = (1 / self.scale * latents).to(self.vae.dtype)
        with computing_in(self.decode_dtype, self.vae):
            clips = [self._decode_clip(c, chunk or c.shape[1]) for c in raw.split(1)]
        return torch.cat(clips).float()

    def _decode_clip(self, raw: RawLatents, chunk: int) -> Pixels:
        """One clip with as many frames together as free memory allows; fewer each time it proves too little."""
        for few in self._plan(raw):
            try:
                with at_most(few):
                    return torch.cat([self.decode_raw(part) for part in raw.split(chunk, 1)], 1)
            except torch.OutOfMemoryError:
                if raw.device.type == "cuda":
                    torch.cuda.empty_cache()
        raise SfvError("decoding needs more memory than is free, even a frame at a time; ask for fewer or smaller ones")

    def _plan(self, raw: RawLatents) -> list[int]:
        """Numbers of frames to try; on a GPU only those whose estimate fits what is free, but always the last."""
        f, (h, w) = raw.shape[1], raw.shape[-2:]
        tries = sorted({f, min(f, 4), 1}, reverse=True)
        if raw.device.type != "cuda":
            return tries
        free, _ = torch.cuda.mem_get_info(raw.device)
        free += torch.cuda.memory_reserved(raw.device) - torch.cuda.memory_allocated(raw.device)
        frame = self.vae.config.block_out_channels[0] * h * w * self.stride**2 * raw.element_size()
        return [n for n in tries if decoding_bytes(frame, f, n) <= free] or tries[-1:]

    @torch.no_grad()
    def normalise(self, mean: Tensor, std: Tensor) -> None:
        """Shift and scale raw latents, per channel (c,), to mean 0 and spread 1, inside the weights.

        Exact but for a one-pixel rim, where the decoder's zero padding now stands for the mean.
        """
        c, quant, entry = len(mean), self.vae.quant_conv, self.vae.decoder.conv_in
        assert quant.bias is not None and entry.bias is not None
        entry.bias += (entry.weight * mean[:, None, None]).sum((1, 2, 3))
        entry.weight *= std[:, None, None]
        quant.weight[:c] /= std[:, None, None, None]
        quant.bias[:c] = (quant.bias[:c] - mean) / std
        quant.bias[c:] -= 2 * std.log()


class SVDConditioner(Conditioner):
    """Picture -> CLIP token (clean) + raw latent (noised in pixels) + time ids.

    `image_encoder` is a ClipTower, or what is called as one (rewrites/picture_stages.py).
    """

    def __init__(self, image_encoder: Any, codec: SVDCodec) -> None:
        super().__init__()
        self.image_encoder = image_encoder
        self.codec = codec

    def embed(self, picture: Picture) -> Tensor:
        """(b, 1, e) from the clean picture: antialiased resize in [-1, 1], then CLIP's normalisation."""
        small = antialiased_resize(picture.float(), CLIP_SIZE)
        mean, std = (torch.tensor(v, device=small.device)[:, None, None] for v in (CLIP_MEAN, CLIP_STD))
        normal = ((small + 1) / 2 - mean) / std
        out: Tensor = self.image_encoder(normal.to(self.image_encoder.dtype))
        return out[:, None]

    def picture_tower(self) -> nn.Module:
        """CLIP's vision tower with its projection."""
        return self.image_encoder

    def forward(self, picture: Picture, **knobs: Any) -> Cond:
        """Knobs: fps (7), motion (127), noise_aug (0.02), noise (unit noise like the picture; zeros)."""
        known = {"fps": 7, "motion": 127, "noise_aug": 0.02, "noise": None}
        if unknown := sorted(set(knobs) - set(known)):
            raise SfvError(f"unknown knob {unknown[0]!r} for an SVD-architecture model; it knows {sorted(known)}")
        v = known | knobs
        noised = picture if v["noise"] is None else picture + v["noise_aug"] * v["noise"]
        ids = time_ids(v["fps"], v["motion"], v["noise_aug"])
        return {
            "image_latents": self.codec.encode_raw(noised[:, None])[:, 0],
            "image_embeds": self.embed(picture),
            "added_time_ids": ids.repeat(len(picture), 1).to(picture.device),
        }

    @torch.no_grad()
    def from_encoded(
        self,
        pictures: Picture,
        embeds: Tensor,
        fps: Tensor,
        motion: Tensor,
        z: Tensor,
        n: Pixels,
        louder: Tensor,
        x0: Latents,
    ) -> Cond:
        """SVD's training: condition noise ln s_c ~ N(-3, 0.5^2) on the pixels, times `louder`."""
        noise_aug = (-3 + 0.5 * z).exp() * louder
        noised = pictures[:, None] + per_clip(noise_aug) * n
        return {
            "image_latents": self.codec.posterior(noised)[0][:, 0].float(),
            "image_embeds": embeds,
            "added_time_ids": torch.stack([fps - 1, motion, noise_aug], 1),
        }

    def with_knobs(self, cond: Cond, **knobs: Any) -> Cond:
        """Other time ids; knobs as `forward`'s, all three of them."""
        ids = time_ids(knobs["fps"], knobs["motion"], knobs["noise_aug"])
        return cond | {"added_time_ids": ids.to(cond["added_time_ids"]).expand_as(cond["added_time_ids"])}

    def around(self, codec: Codec) -> "SVDConditioner":
        """The same picture tower around another SVD codec."""
        assert isinstance(codec, SVDCodec)
        return SVDConditioner(self.image_encoder, codec)

    def unconditional(self, cond: Cond) -> Cond:
        """The pipeline's negative branch: zero latent, zero token, the same ids."""
        zeroed = {k: torch.zeros_like(cond[k]) for k in ("image_latents", "image_embeds")}
        return cond | zeroed


def time_ids(fps: float, motion: float, noise_aug: float) -> Float[Tensor, "1 3"]:
    """SVD's condition in numbers; frames per second less one, as in its training."""
    return torch.tensor([[fps - 1, motion, noise_aug]], dtype=torch.float32)


def decoding_bytes(frame: int, frames: int, together: int) -> int:
    """Estimated peak of decoding a clip: its largest maps six times over for time, and the frames in hand.

    tests/costs/test_costs.py holds it above what is counted.
    """
    return frame * (6 * frames + together)


def computing_in(dtype: torch.dtype | None, network: Any) -> AbstractContextManager[Any]:
    """A network in another precision than its weights', inside the block."""
    quick = dtype is not None and dtype != network.dtype
    return torch.autocast(network.device.type, dtype) if quick else nullcontext()


def antialiased_resize(picture: Picture, size: int) -> Float[Tensor, "b 3 size size"]:
    """The pipeline's Gaussian blur and bicubic resize (align_corners) as one fixed linear map per side."""
    # what is made while exporting is the exporter's own, so it is not kept
    matrix = _resize_matrix.__wrapped__ if torch.compiler.is_exporting() else _resize_matrix
    rows, columns = (matrix(n, size).to(picture) for n in picture.shape[-2:])
    return rows @ picture @ columns.T


@lru_cache(maxsize=16)
def _resize_matrix(n: int, size: int) -> Tensor:
    """(size, n): what blurring and resizing does to each unit vector.

    Blur sigma (n/size - 1) / 2, at least 0.001, over 2 sigma each side, reflected at the border.
    """
    sigma = max((n / size - 1) / 2, 0.001)
    width = int(max(4 * sigma, 3)) | 1
    at = torch.arange(width, dtype=torch.float32) - width // 2
    kernel = torch.exp(-(at**2) / (2 * sigma**2))
    unit = torch.eye(n)[None]
    padded = F.pad(unit, (width // 2, width // 2), mode="reflect")
    blurred = F.conv1d(padded.transpose(0, 1), (kernel / kernel.sum())[None, None])[:, 0]
    resized = F.interpolate(blurred.T[None, None], size=(size, n), mode="bicubic", align_corners=True)
    return resized[0, 0]
