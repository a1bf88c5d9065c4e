"""A still becomes a moving picture: picture -> Cond -> noise -> ONE network call -> decode -> frames."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor

from sfv.edm.noise import seeded_noise
from sfv.edm.sampling import consistency, euler, karras_sigmas
from sfv.errors import SfvError
from sfv.families.base import VideoModel
from sfv.media import fit
from sfv.media.pictures import Uint8Picture
from sfv.settings import Settings
from sfv.types import Cond, Frames, Latents

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

    @property
    def fps(self) -> float:
        """Frames per second to play at."""
        return float(self.settings.fps or 7)


@torch.inference_mode()
def generate(
    model: VideoModel,
    picture: Uint8Picture,
    settings: Settings | None = None,
    watch: Watch | None = None,
    **changes: Any,
) -> Clip:
    """Animate one picture (h, w, 3 uint8 RGB, any size).

    `changes` are fields of Settings: generate(model, picture, seed=3). `watch(done, steps)` is called after
    every network call. Raises SfvError for impossible settings.
    """
    want = resolve(Settings.model_validate((settings or Settings()).model_dump() | changes), model)
    seconds: dict[str, float] = {}
    small = fit(picture, _int(want.height), _int(want.width), want.fit, want.background)
    with _clock(seconds, "encode", model):
        cond = condition(model, small, want)
    with _clock(seconds, "unet", model):
        latents, calls = sample(model, cond, want, watch)
    with _clock(seconds, "decode", model):
        frames = to_frames(model.decode(latents, want.decoder))
    return Clip(frames, latents, small, want, calls, seconds)


def resolve(settings: Settings, model: VideoModel) -> Settings:
    """Every open field filled from the model, and the size checked against its codec."""
    full = settings.over(model.defaults).model_copy(update={"decoder": model.decoder(settings.decoder)})
    f, h, w = _int(full.frames), _int(full.height), _int(full.width)
    model.codec.latent_shape(f, h, w)
    if f * h * w > MAX_WORK:
        raise SfvError(f"{f} frames of {h}x{w} are too much for one clip; ask for less")
    return full


def condition(model: VideoModel, picture: Uint8Picture, want: Settings) -> Cond:
    """The fitted picture and the knobs as the network is told them."""
    pixels = (picture.permute(2, 0, 1)[None].float() / 127.5 - 1).to(model.device)
    noise = seeded_noise([want.seed ^ PICTURE_STREAM], tuple(pixels.shape[1:]), model.device)
    return model.conditioner(pixels, fps=want.fps, motion=want.motion, noise_aug=want.noise_aug, noise=noise)


def sample(model: VideoModel, cond: Cond, want: Settings, watch: Watch | None = None) -> tuple[Latents, int]:
    """Latents and the number of network calls (a guided pair counts as two)."""
    shape = model.codec.latent_shape(_int(want.frames), _int(want.height), _int(want.width))
    steps, guidance = _int(want.steps), float(want.guidance or 1)
    sigmas = karras_sigmas(steps, model.sigma_min, model.sigma_max, model.rho)
    x = seeded_noise([want.seed], shape, model.device) * float((sigmas[0] ** 2 + 1).sqrt())
    told: Callable[[int, Tensor], None] | None = (lambda i, _: watch(i + 1, steps)) if watch else None
    if want.sampler == "consistency":
        if guidance > 1:
            raise SfvError(f"guidance {guidance:g} is for the euler sampler; use guidance 1 with consistency")
        again = partial(_noise_again, want.seed, shape, model.device)
        return consistency(model.denoiser, x, sigmas, cond, again, told), steps
    if guidance == 1:
        return euler(model.denoiser, x, sigmas, cond, watch=told), steps
    scale = torch.linspace(1, guidance, shape[0], device=model.device)
    return euler(model.denoiser, x, sigmas, cond, model.conditioner.unconditional(cond), scale, told), 2 * steps


def _noise_again(seed: int, shape: tuple[int, ...], device: torch.device, call: int) -> Tensor:
    """Fresh noise for a later call of the consistency sampler."""
    return seeded_noise([(seed + call * NOISE_STREAM) % 2**63], shape, device)


def to_frames(pixels: Tensor) -> Frames:
    """(1, f, 3, h, w) in [-1, 1] -> uint8 on the CPU; rounding happens before the one copy."""
    levels = (pixels[0].float() * 127.5 + 127.5).round().clamp(0, 255).to(torch.uint8)
    return levels.permute(0, 2, 3, 1).contiguous().cpu()


@contextmanager
def _clock(seconds: dict[str, float], stage: str, model: VideoModel) -> Iterator[None]:
    """Wall time of a stage; waits for the device on both sides."""
    wait(model)
    start = time.perf_counter()
    yield
    wait(model)
    seconds[stage] = time.perf_counter() - start


def wait(model: VideoModel) -> None:
    """Until the device has done what it was told, so that clocks tell the truth."""
    if model.device.type == "cuda":
        torch.cuda.synchronize(model.device)


def _int(value: float | None) -> int:
    assert value is not None
    return int(value)
