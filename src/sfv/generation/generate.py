"""A still becomes a moving picture: picture -> Cond -> noise -> ONE network call -> decode -> frames."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from sfv import limits
from sfv.decoding.decoder import Drawn
from sfv.decoding.guide import moved
from sfv.decoding.upscale import Layers, enlarged
from sfv.edm.noise import seeded_noise
from sfv.edm.sampling import GRID, consistency, consistency_sigmas, euler, karras_sigmas
from sfv.errors import SfvError
from sfv.families.base import VideoModel
from sfv.media import fit, fit_mask, fit_sticker, keep_still, over_white, soft_edge, there_and_back
from sfv.media.edits import Mask
from sfv.media.pictures import AnyPicture, Fitted, FittedSticker, Uint8Picture, Uint8Sticker, colour
from sfv.media.pixels import Opacity, as_layers, as_pixels, laid_over, opacity, to_frames
from sfv.settings import Settings
from sfv.system.timing import now
from sfv.types import AnyFirst, Cond, Frames, Latents, Picture, Stickers

Played = UInt8[Tensor, "n height width 3"]
"""As many frames as are played."""
PlayedOpacity = UInt8[Tensor, "n height width 1"]

Watch = Callable[[int, int], None]
Peek = Callable[[int, Latents], None]
"""Told a step's number and what the network took for the finished clip then."""
MaskPicture = UInt8[Tensor, "mh mw 3"]
"""A picture of what keeps still (white) and what moves (black)."""
PICTURE_STREAM = 0x5F3759DF  # keeps the condition noise's seed apart from the latent noise's
NOISE_STREAM = 0x2545F4914F6CDD1D  # and that of later calls of the consistency sampler


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
    mask: Mask | None = None
    """What was kept still, fitted as the picture was."""

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
        return float(self.settings.play_fps or self.settings.fps or 7)


@dataclass(frozen=True)
class Still:
    """The fitted picture, and, if transparency is wanted, the same with alpha; as the network sees it and as large as
    the clip will be."""

    small: Uint8Picture
    sticker: Uint8Sticker | None
    large: Fitted
    large_sticker: FittedSticker | None


@dataclass(frozen=True)
class Start:
    """What a clip begins with: settings in full, the fitted picture, and its mask."""

    want: Settings
    still: Still
    mask: Mask | None

    @property
    def small(self) -> Uint8Picture:
        """The picture as the network sees it."""
        return self.still.small


@torch.inference_mode()
def generate(
    model: VideoModel,
    picture: Uint8Picture | Uint8Sticker,
    settings: Settings | None = None,
    watch: Watch | None = None,
    keep_still: MaskPicture | None = None,
    **changes: Any,
) -> Clip:
    """Animate one picture (h, w, 3 uint8 RGB, any size; h, w, 4 RGBA for a transparent clip).

    `changes` are fields of Settings: generate(model, picture, seed=3). `watch(done, steps)` is called after
    every network call. `keep_still` is a picture of the same shape that is white where nothing may move.
    Raises SfvError for impossible settings.
    """
    start = begin(model, picture, (settings or Settings()).model_dump() | changes, keep_still)
    seconds: dict[str, float] = {}
    return finish(model, start, encoded(model, start, seconds), seconds, watch)


def begin(
    model: VideoModel, picture: Uint8Picture | Uint8Sticker, wish: dict[str, Any], mask: MaskPicture | None = None
) -> Start:
    """Settings filled from the model, picture and mask fitted. Raises SfvError for impossible ones."""
    want = resolve(Settings.model_validate(wish), model)
    source = (picture.shape[0], picture.shape[1])
    size = _int(want.height) * want.enlarge, _int(want.width) * want.enlarge
    return Start(want, fitted(picture, want, model), None if mask is None else fit_mask(mask, source, size, want.fit))


@torch.inference_mode()
def encoded(model: VideoModel, start: Start, seconds: dict[str, float], known: Cond | None = None) -> Cond:
    """What the network is told; `known`, of the same picture, seed and noise_aug, saves encoding."""
    want = start.want
    with _clock(seconds, "encode", model):
        if known is None:
            return condition(model, first_pixels(model, start.still), want)
        return model.conditioner.retold(known, fps=want.fps, motion=want.motion, noise_aug=want.noise_aug)


@torch.inference_mode()
def finish(
    model: VideoModel,
    start: Start,
    cond: Cond,
    seconds: dict[str, float],
    watch: Watch | None = None,
    peek: Peek | None = None,
) -> Clip:
    """The clip of a fitted picture that is encoded already; `seconds` are what that took."""
    with _clock(seconds, "unet", model):
        latents, calls = sample(model, cond, start.want, watch, peek)
    return _edited(made_of(model, latents, start, calls, seconds))


def made_of(model: VideoModel, latents: Latents, start: Start, calls: int, seconds: dict[str, float]) -> Clip:
    """One clip's latents, decoded; `seconds` are told what that took."""
    still, want, alpha = start.still, start.want, None
    with _clock(seconds, "decode", model):
        if model.codec.channels == 4:
            frames, alpha = _layered(model, latents, start)
        else:
            frames, drawn = _opaque(model, latents, start)
    if alpha is None and still.sticker is not None and still.large_sticker is not None:
        with _clock(seconds, "matte", model):
            alpha = matted(model, drawn, first_pixels(model, still), still.sticker, still.large_sticker)
    return Clip(
        frames, at_times(latents, want), still.large, want, calls, seconds, still.large_sticker, alpha, start.mask
    )


def at_times(latents: Latents, want: Settings) -> Float[Tensor, "b n c y x"]:
    """Latents of the frames that are played: those of a loop, or what lies between them around the round."""
    times = _times(latents.shape[1], want)
    return latents if times is None else around(latents, times.to(latents.device))


def around(latents: Latents, at: Float[Tensor, " n"]) -> Float[Tensor, "b n c y x"]:
    """A loop's latents at any places around the round, in frames: linear between neighbours, the last and the first
    among them."""
    f = latents.shape[1]
    before = at.floor()
    share = (at - before)[:, None, None, None]
    one, other = (latents[:, (k % f).long()] for k in (before, before + 1))
    return one + share * (other - one)


def _opaque(model: VideoModel, latents: Latents, start: Start) -> tuple[Frames, Drawn]:
    """RGB frames, and what they are made of."""
    still, want, first = start.still, start.want, first_pixels(model, start.still)
    moves = model.enlarges(want.decoder) and (want.enlarge > 1 or want.transparent)
    drawn = model.draw(latents, first) if moves else Drawn(model.decode(latents, first, want.decoder))
    frames = to_frames(drawn.frames) if want.enlarge == 1 else _large_frames(model, still, drawn)
    return frames, drawn


def _large_frames(model: VideoModel, still: Still, drawn: Drawn) -> Frames:
    small, large = as_pixels(still.small, model.device), as_pixels(still.large, model.device)
    return torch.cat([to_frames(frame[None]) for frame in enlarged(drawn, small, large, drawn.frames)])


def _layered(model: VideoModel, latents: Latents, start: Start) -> tuple[Played, PlayedOpacity | None]:
    """Frames of a model that draws transparency too: over the background, or over white with their alpha."""
    still, want, first = start.still, start.want, first_pixels(model, start.still)
    drawn = model.draw(latents, first)
    parts: Iterable[Tensor] = [drawn.frames[0]]
    times = _times(latents.shape[1], want)
    if times is not None or want.enlarge > 1:
        layers = Layers(drawn, first)
        large = first if want.enlarge == 1 else as_layers(_largest(still), model.device)
        parts = (layers if times is None else layers.at(times.to(first.device))).over(large)
    ground = (255, 255, 255) if want.transparent else colour(want.background)
    frames, alphas = [], []
    for part in parts:
        frames.append(laid_over(part[None], ground))
        if want.transparent:
            alphas.append(opacity(part[None]))
    return torch.cat(frames), torch.cat(alphas) if alphas else None


def _largest(still: Still) -> AnyPicture:
    """The picture at the clip's own size, with its transparency if that is asked for."""
    return still.large if still.large_sticker is None else still.large_sticker


def _times(frames: int, want: Settings) -> Float[Tensor, " n"] | None:
    """Places around the round, in frames, of what is played; None for the frames made."""
    if want.play_fps is None:
        return None
    count = limits.played(frames, float(want.fps or 1), want.play_fps)
    return torch.arange(count) * (frames / count)


def matted(model: VideoModel, drawn: Drawn, first: Picture, sticker: Uint8Sticker, large: FittedSticker) -> Opacity:
    """How opaque every pixel is: as the sticker's own alpha where that was moved, told by the matte where it was drawn.

    `sticker` is `first` with its transparency, `large` the same at the clip's size.
    """
    assert model.matte is not None
    known, big = (s[..., 3].to(model.device).float()[None, None] / 255 for s in (sticker, large))
    alpha = model.matte(drawn.frames.clamp(-1, 1), first, known)
    if drawn.flow is not None and drawn.trust is not None:
        alpha = alpha + drawn.trust * (moved(known, drawn.flow[0]).clamp(0, 1) - alpha)
    made = alpha[0] if big.shape == known.shape else torch.cat([*enlarged(drawn, known, big, alpha)])
    return (made * 255).round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).cpu()


def _edited(clip: Clip) -> Clip:
    """With what keeps still, there and back, if that is wanted."""
    if clip.mask is not None:
        clip = _kept(clip, clip.mask)
    if clip.settings.boomerang:
        alpha = None if clip.alpha is None else there_and_back(clip.alpha)
        latents = there_and_back(clip.latents[0])[None]
        clip = replace(clip, frames=there_and_back(clip.frames), latents=latents, alpha=alpha)
    return clip


def _kept(clip: Clip, mask: Mask) -> Clip:
    """The still picture over every frame, as far as the mask's soft edge says; its alpha likewise."""
    weights = soft_edge(mask)
    known = None if clip.sticker is None else clip.sticker[..., 3:]
    alpha = None if clip.alpha is None or known is None else keep_still(clip.alpha, known, weights)
    return replace(clip, frames=keep_still(clip.frames, clip.picture, weights), alpha=alpha)


@torch.inference_mode()
def generate_many(
    model: VideoModel,
    pictures: Sequence[AnyPicture],
    settings: Settings,
    seeds: Sequence[int],
    watch: Watch | None = None,
) -> list[Clip]:
    """Animate several pictures in one batch, with equal settings but for the seed; a clip does not depend on the rest.

    Rounding does depend on it (float32: 1e-6). Every clip is told its share of the seconds. Errors as in `generate`.
    """
    want, names, seconds = resolve(settings, model), [int(s) for s in seeds], dict[str, float]()
    stills = [fitted(p, want, model) for p in pictures]
    first = torch.cat([first_pixels(model, s) for s in stills])
    with _clock(seconds, "encode", model):
        cond = condition(model, first, want, names)
    with _clock(seconds, "unet", model):
        latents, calls = sample(model, cond, want, watch, seeds=names)
    share = {k: v / len(stills) for k, v in seconds.items()}
    wants = [want.model_copy(update={"seed": s}) for s in names]
    starts = [Start(w, s, None) for w, s in zip(wants, stills, strict=True)]
    each = zip(latents.split(1), starts, strict=True)
    return [_edited(made_of(model, z, start, calls, dict(share))) for z, start in each]


def fitted(picture: Uint8Picture | Uint8Sticker, want: Settings, model: VideoModel) -> Still:
    """The picture at the network's size and at the clip's; of an enlarged clip, the former is made of the latter."""
    height, width, times = _int(want.height), _int(want.width), want.enlarge
    if not want.transparent:
        if picture.shape[-1] != 3:
            raise SfvError("the picture has an alpha channel; ask for transparent=True, or read it with read_picture")
        large = fit(picture, times * height, times * width, want.fit, want.background)
        return Still(large if times == 1 else fit(large, height, width), None, large, None)
    if picture.shape[-1] != 4:
        raise SfvError("transparent needs a picture with an alpha channel (h, w, 4); read it with read_sticker")
    big = fit_sticker(picture, times * height, times * width, want.fit)
    sticker = big if times == 1 else fit_sticker(big, height, width)
    return Still(over_white(sticker), sticker, over_white(big), big)


def resolve(settings: Settings, model: VideoModel) -> Settings:
    """Every open field filled from the model; SfvError for what it cannot make."""
    return limits.resolve(settings, model.limits)


def first_pixels(model: VideoModel, still: Still) -> AnyFirst:
    """The fitted picture as the model's codec takes it, (1, 3 or 4, h, w) in [-1, 1], where the model is."""
    if model.codec.channels == 4:
        return as_layers(still.small if still.sticker is None else still.sticker, model.device)
    return as_pixels(still.small, model.device)


def condition(model: VideoModel, first: AnyFirst, want: Settings, seeds: Sequence[int] = ()) -> Cond:
    """The fitted pictures and the knobs as the network is told them; `seeds` where there are several."""
    if not want.noise_aug:
        return model.conditioner(first, fps=want.fps, motion=want.motion, noise_aug=want.noise_aug)
    noise = seeded_noise([s ^ PICTURE_STREAM for s in seeds or [want.seed]], tuple(first.shape[1:]), model.device)
    return model.conditioner(first, fps=want.fps, motion=want.motion, noise_aug=want.noise_aug, noise=noise)


def sample(
    model: VideoModel,
    cond: Cond,
    want: Settings,
    watch: Watch | None = None,
    peek: Peek | None = None,
    seeds: Sequence[int] = (),
) -> tuple[Latents, int]:
    """Latents and the number of network calls (a guided pair counts as two); `seeds` where there are several clips."""
    names = list(seeds) or [want.seed]
    shape = model.codec.latent_shape(_int(want.frames), _int(want.height), _int(want.width))
    steps, guidance = _int(want.steps), float(want.guidance or 1)
    law = model.sigma_min, model.sigma_max, model.rho
    if want.sampler == "consistency" and steps > GRID:
        raise SfvError(f"steps {steps}: a consistency model has {GRID} levels; 1 to 8 is what it is made for")
    sigmas = (consistency_sigmas if want.sampler == "consistency" else karras_sigmas)(steps, *law)
    x = seeded_noise(names, shape, model.device) * float((sigmas[0] ** 2 + 1).sqrt())
    told = _telling(steps, watch, peek)
    without, scale = None, None
    if guidance > 1:
        without = model.conditioner.unconditional(cond)
        scale = model.conditioner.guidance_over_frames(guidance, shape[0]).to(model.device)
    calls = steps if without is None else 2 * steps
    if want.sampler == "consistency":
        again = partial(_noise_again, names, shape, model.device)
        return _begun(model, consistency(model.denoiser, x, sigmas, cond, again, told, without, scale)), calls
    return _begun(model, euler(model.denoiser, x, sigmas, cond, without, scale, told)), calls


def _begun(model: VideoModel, latents: Latents) -> Latents:
    """The first frame is the picture: of a conditioned codec it has no change."""
    if model.codec.conditioned:
        latents = torch.cat([torch.zeros_like(latents[:, :1]), latents[:, 1:]], 1)
    return latents


def _telling(steps: int, watch: Watch | None, peek: Peek | None) -> Peek | None:
    """What a sampler calls after each step."""

    def told(i: int, x0_hat: Latents) -> None:
        if watch:
            watch(i + 1, steps)
        if peek:
            peek(i, x0_hat)

    return told if watch or peek else None


def _noise_again(seeds: list[int], shape: tuple[int, ...], device: torch.device, call: int) -> Tensor:
    """Fresh noise for a later call of the consistency sampler."""
    return seeded_noise([(s + call * NOISE_STREAM) % 2**63 for s in seeds], shape, device)


@contextmanager
def _clock(seconds: dict[str, float], stage: str, model: VideoModel) -> Iterator[None]:
    """Wall time of a stage; waits for the device on both sides."""
    start = now(model.device)
    yield
    seconds[stage] = now(model.device) - start


def _int(value: float | None) -> int:
    assert value is not None
    return int(value)
