"""A still becomes a moving picture: picture -> Cond -> noise -> ONE network call -> decode -> frames."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from jaxtyping import UInt8
from torch import Tensor

from sfv.edm.noise import seeded_noise
from sfv.edm.sampling import GRID, consistency, consistency_sigmas, euler, karras_sigmas
from sfv.errors import SfvError
from sfv.families.base import VideoModel
from sfv.families.clocks import now
from sfv.media import fit, fit_sticker, over_white
from sfv.media.pictures import Fitted, FittedSticker, Uint8Picture, Uint8Sticker
from sfv.settings import Settings
from sfv.types import Cond, Frames, Latents, Picture, Pixels, Stickers

Watch = Callable[[int, int], None]
PICTURE_STREAM = 0x5F3759DF  # keeps the condition noise's seed apart from the latent noise's
NOISE_STREAM = 0x2545F4914F6CDD1D  # and that of later calls of the consistency sampler
MAX_WORK = 200 * 1024 * 2048  # frames x height x width that one clip may have


@dataclass
class Clip:
    """What came out, how, and how long each stage took."""

    frames: Frames
    latents: Latents
    picture: Uint8Picture
    settings: Settings
    calls: int
    seconds: dict[str, float] = field(default_factory=dict)
    sticker: Uint8Sticker | None = None
    """The fitted picture with its transparency, if that was asked for."""
    alpha: UInt8[Tensor, "f h w 1"] | None = None
    """How opaque every pixel is; `frames` are over white."""

    def stickers(self) -> Stickers:
        """RGBA frames: white is taken out of the colours. SfvError for a clip made without `transparent`."""
        if self.alpha is None:
            raise SfvError("the clip has no transparency; make it with transparent=True")
        share = self.alpha.float() / 255
        colours = (self.frames - 255 * (1 - share)) / share.clamp(min=1 / 255)
        return torch.cat([colours.round().clamp(0, 255).to(torch.uint8), self.alpha], -1)

    @property
    def fps(self) -> float:
        """Frames per second to play at."""
        return float(self.settings.fps or 7)


@torch.inference_mode()
def generate(
    model: VideoModel,
    picture: Uint8Picture | Uint8Sticker,
    settings: Settings | None = None,
    watch: Watch | None = None,
    **changes: Any,
) -> Clip:
    """Animate one picture (h, w, 3 uint8 RGB, any size; h, w, 4 RGBA for a transparent clip).

    `changes` are fields of Settings: generate(model, picture, seed=3). `watch(done, steps)` is called after
    every network call. Raises SfvError for impossible settings.
    """
    want = resolve(Settings.model_validate((settings or Settings()).model_dump() | changes), model)
    seconds: dict[str, float] = {}
    small, sticker = fitted(picture, want, model)
    first = as_pixels(small, model)
    with _clock(seconds, "encode", model):
        cond = condition(model, first, want)
    with _clock(seconds, "unet", model):
        latents, calls = sample(model, cond, want, watch)
    with _clock(seconds, "decode", model):
        pixels = model.decode(latents, first, want.decoder)
        frames = to_frames(pixels)
    if sticker is None:
        return Clip(frames, latents, small, want, calls, seconds)
    with _clock(seconds, "matte", model):
        alpha = opacity(model, pixels, first, sticker)
    return Clip(frames, latents, small, want, calls, seconds, sticker, alpha)


def fitted(
    picture: Uint8Picture | Uint8Sticker, want: Settings, model: VideoModel
) -> tuple[Fitted, FittedSticker | None]:
    """The picture at the clip's size; with it, if transparency is wanted, the same with alpha."""
    size = _int(want.height), _int(want.width)
    if not want.transparent:
        if picture.shape[-1] != 3:
            raise SfvError("the picture has an alpha channel; ask for transparent=True, or read it with read_picture")
        return fit(picture, *size, want.fit, want.background), None
    if model.matte is None:
        raise SfvError(f"{model.name} has no matte, so its clips are opaque; leave transparent out, or train one")
    if picture.shape[-1] != 4:
        raise SfvError("transparent needs a picture with an alpha channel (h, w, 4); read it with read_sticker")
    sticker = fit_sticker(picture, *size, want.fit)
    return over_white(sticker), sticker


def opacity(model: VideoModel, pixels: Pixels, first: Picture, sticker: Uint8Sticker) -> UInt8[Tensor, "f h w 1"]:
    """How opaque every pixel of decoded frames is, told from them and from the sticker that is `first` over white."""
    assert model.matte is not None
    known = sticker[..., 3].to(model.device).float() / 255
    alpha = model.matte(pixels.clamp(-1, 1), first, known[None, None])[0]
    return (alpha * 255).round().to(torch.uint8).permute(0, 2, 3, 1).cpu()


def resolve(settings: Settings, model: VideoModel) -> Settings:
    """Every open field filled from the model, and the size checked against its codec."""
    full = settings.over(model.defaults).model_copy(update={"decoder": model.decoder(settings.decoder)})
    f, h, w = _int(full.frames), _int(full.height), _int(full.width)
    model.codec.latent_shape(f, h, w)
    if f * h * w > MAX_WORK:
        raise SfvError(f"{f} frames of {h}x{w} are too much for one clip; ask for less")
    return full


def as_pixels(picture: Uint8Picture, model: VideoModel) -> Picture:
    """(1, 3, h, w) in [-1, 1], where the model is."""
    return (picture.permute(2, 0, 1)[None].float() / 127.5 - 1).to(model.device)


def condition(model: VideoModel, first: Picture, want: Settings) -> Cond:
    """The fitted picture and the knobs as the network is told them."""
    noise = seeded_noise([want.seed ^ PICTURE_STREAM], tuple(first.shape[1:]), model.device)
    return model.conditioner(first, fps=want.fps, motion=want.motion, noise_aug=want.noise_aug, noise=noise)


def sample(model: VideoModel, cond: Cond, want: Settings, watch: Watch | None = None) -> tuple[Latents, int]:
    """Latents and the number of network calls (a guided pair counts as two)."""
    shape = model.codec.latent_shape(_int(want.frames), _int(want.height), _int(want.width))
    steps, guidance = _int(want.steps), float(want.guidance or 1)
    law = model.sigma_min, model.sigma_max, model.rho
    if want.sampler == "consistency" and steps > GRID:
        raise SfvError(f"steps {steps}: a consistency model has {GRID} levels; 1 to 8 is what it is made for")
    sigmas = (consistency_sigmas if want.sampler == "consistency" else karras_sigmas)(steps, *law)
    x = seeded_noise([want.seed], shape, model.device) * float((sigmas[0] ** 2 + 1).sqrt())
    told: Callable[[int, Tensor], None] | None = (lambda i, _: watch(i + 1, steps)) if watch else None
    without, scale = None, None
    if guidance > 1:
        without = model.conditioner.unconditional(cond)
        scale = torch.linspace(1, guidance, shape[0], device=model.device)
    calls = steps if without is None else 2 * steps
    if want.sampler == "consistency":
        again = partial(_noise_again, want.seed, shape, model.device)
        return consistency(model.denoiser, x, sigmas, cond, again, told, without, scale), calls
    return euler(model.denoiser, x, sigmas, cond, without, scale, told), calls


def _noise_again(seed: int, shape: tuple[int, ...], device: torch.device, call: int) -> Tensor:
    """Fresh noise for a later call of the consistency sampler."""
    return seeded_noise([(seed + call * NOISE_STREAM) % 2**63], shape, device)


def to_frames(pixels: Tensor) -> Frames:
    """(1, f, 3, h, w) in [-1, 1] -> uint8 on the CPU; rounding happens before the one copy."""
    levels = (pixels[0].float() * 127.5 + 127.5).round().clamp(0, 255).to(torch.uint8)
    levels = levels.permute(0, 2, 3, 1).contiguous()
    if not levels.is_cuda:
        return levels.cpu()
    host = torch.empty(levels.shape, dtype=levels.dtype, pin_memory=True)  # several times quicker to copy to
    return host.copy_(levels)


@contextmanager
def _clock(seconds: dict[str, float], stage: str, model: VideoModel) -> Iterator[None]:
    """Wall time of a stage; waits for the device on both sides."""
    start = now(model.device)
    yield
    seconds[stage] = now(model.device) - start


def _int(value: float | None) -> int:
    assert value is not None
    return int(value)
