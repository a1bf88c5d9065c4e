"""Small-decoder training: pixels from the frozen codec's latents and the picture (TAESD's idea, and ToonCrafter's)."""

from abc import ABC, abstractmethod
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from sfv.data.stickers import ClipStore
from sfv.decoding.decoder import Decoded, SmallDecoder, new_decoder
from sfv.decoding.guide import warped
from sfv.edm.noise import add_noise
from sfv.errors import SfvError
from sfv.families.base import VideoModel
from sfv.media import flow_to
from sfv.media.pixels import to_frames
from sfv.system.device import bf16_autocast
from sfv.training.batches import VideoBatches
from sfv.training.config import DecoderTraining, Stages
from sfv.training.ema import EMA
from sfv.training.health import Rule
from sfv.training.logs import Logs
from sfv.training.loop import run
from sfv.training.objectives.codec import draw_clips, pixel_loss
from sfv.training.optimizers import Muon
from sfv.training.seeds import Seeds
from sfv.types import Latents, Picture, Pixels

SIDE = 128
"""Pixels at which a codec is asked for its stride."""
SURE, FAR = 0.15, 20.0
"""Mean error (of 2) up to which optical flow is believed; pixels of flow error that weigh as an error of 1."""


class DrawTask(ABC):
    """One optimiser over the small decoder; the model stands still."""

    rules: tuple[Rule, ...] = ()
    quiet_until = 0

    def __init__(self, decoder: SmallDecoder, model: VideoModel, config: DecoderTraining) -> None:
        self.decoder, self.model, self.config = decoder.train(), model, config
        self.device = _codec_device(model)
        self.modules: dict[str, nn.Module] = {"decoder": decoder}
        self.optimizers: dict[str, Optimizer] = {"decoder": Muon(decoder.parameters(), config.lr)}
        self.averages = {"decoder": EMA(decoder, config.ema)}

    @abstractmethod
    def given(self, seeds: Seeds) -> tuple[Latents, Pixels]:
        """Latents to be drawn and the true clips, on the codec's device."""

    def step(self, step: int, seeds: Seeds) -> Logs:
        """One update on fresh clips; each clip's first frame is the picture."""
        config = self.config
        with bf16_autocast(self.device):
            latents, clips = self.given(seeds)
            picture = clips[:, 0]
            seen = picture if config.guided else None
            drawn, copied = self.decoder.draw(latents, seen), self._before(latents, seen)
            loss, logs = pixel_loss(drawn.frames - (clips if copied is None else copied.frames), config)
        if drawn.trust is not None:
            guiding, more = (
                guide_loss(drawn, clips, picture, config) if copied is None else copy_loss(drawn, copied, config)
            )
            loss, logs = loss + guiding, logs | more
        loss.backward()
        nn.utils.clip_grad_norm_(self.decoder.parameters(), config.clip)
        self.optimizers["decoder"].step()
        self.optimizers["decoder"].zero_grad(set_to_none=True)
        return {"loss": float(loss.detach()), **logs}

    @torch.no_grad()
    def _before(self, latents: Latents, picture: Picture | None) -> Decoded | None:
        """What the decoder before this one draws, where that is to be copied."""
        if not self.config.copied:
            return None
        if self.model.small is None:
            raise SfvError("copied=true needs a small decoder to copy: a stage before it, or --init with one")
        return self.model.small.draw(latents, picture)

    def _noisy(self, latents: Latents, rng: torch.Generator) -> Latents:
        """Latents with a little noise, so that decoding forgives small errors."""
        return latents + self.config.noise * latents.std() * self._noise(latents, rng)

    def _noise(self, like: Tensor, rng: torch.Generator) -> Tensor:
        return torch.randn(like.shape, generator=rng).to(like.device)


class DecoderTask(DrawTask):
    """ClipSampler a store's clips.

    Latents of real clips teach it to draw. What a denoiser makes is torn and soft where things move, so it also learns
    to draw the real frames from what the denoiser makes of them once they are drowned in noise.
    """

    def __init__(self, decoder: SmallDecoder, model: VideoModel, store: ClipStore, config: DecoderTraining) -> None:
        super().__init__(decoder, model, config)
        self.store = store

    @torch.no_grad()
    def given(self, seeds: Seeds) -> tuple[Latents, Pixels]:
        """Fresh clips, and their own latents or what the denoiser makes of those."""
        rng = seeds.one()
        clips = draw_clips(self.store, self.config, rng).to(self.device)
        restored = float(torch.rand((), generator=rng)) < self.config.restored
        if restored:
            return self._restored(clips, clips[:, 0], rng), clips
        return self._noisy(self.model.codec.encode(clips), rng), clips

    @torch.no_grad()
    def _restored(self, clips: Pixels, picture: Picture, rng: torch.Generator) -> Latents:
        """The denoiser's one answer to noised latents, at a level drawn evenly in ln sigma."""
        low, high = torch.tensor(self.config.sigmas, dtype=torch.float64).log()
        share = torch.rand(len(clips), generator=rng, dtype=torch.float64)
        sigma = (low + share * (high - low)).exp().float().to(clips.device)
        defaults = self.model.defaults
        motion = self.config.motion_most * float(torch.rand((), generator=rng))
        knobs = {
            "fps": defaults.fps,
            "motion": motion,
            "noise_aug": defaults.noise_aug,
            "noise": self._noise(picture, rng),
        }
        x0 = self.model.codec.encode(clips)
        return self.model.denoiser(
            add_noise(x0, sigma, self._noise(x0, rng)), sigma, self.model.conditioner(picture, **knobs)
        )


class ShardDecoderTask(DrawTask):
    """Copies the codec's own decoder on latents that were encoded before: for models whose codec is costly.

    Windows of `frames` latents, cut to `crop` pixels a side where that is asked for; the codec's own decoder gives what
    they should become, the window's first frame among it.
    """

    def __init__(
        self, decoder: SmallDecoder, model: VideoModel, batches: VideoBatches, config: DecoderTraining
    ) -> None:
        if config.restored:
            raise SfvError("restored needs a clip store's frames: leave it at 0 for video shards")
        super().__init__(decoder, model, config)
        self.batches = batches

    @torch.no_grad()
    def given(self, seeds: Seeds) -> tuple[Latents, Pixels]:
        """Noisy latents, and the frames that the codec makes of the clean ones."""
        config, rng, rngs = self.config, seeds.one(), seeds.clips(self.config.clips)
        x0 = self.batches.pick(rngs).x0
        side = (config.crop or 0) // self.decoder.stride or max(x0.shape[3:])
        sizes = [min(config.frames, x0.shape[1]), x0.shape[2], *(min(side, n) for n in x0.shape[3:])]
        for dim, size in zip((1, 3, 4), (sizes[0], *sizes[2:]), strict=True):
            x0 = x0.narrow(dim, int(torch.randint(x0.shape[dim] - size + 1, (), generator=rng)), size)
        x0 = x0.to(self.device)
        return self._noisy(x0, rng), self.model.codec.decode(x0).float().clamp(-1, 1)


def _codec_device(model: VideoModel) -> torch.device:
    """Where latents are drawn: the denoiser may wait elsewhere."""
    return next(model.codec.parameters()).device


def guide_loss(drawn: Decoded, true: Pixels, picture: Picture, config: DecoderTraining) -> tuple[Tensor, Logs]:
    """follow * (|moved picture - true| + |flow - optical flow| / 20) + smooth * |flow's change| + doubt * (1 - trust).

    Flow in pixels. The optical flow (DIS) counts where it finds the true frame in the picture.
    """
    assert drawn.moved is not None and drawn.trust is not None and drawn.flow is not None
    fields = torch.stack(
        [flow_to(to_frames(c[None]), to_frames(p[None, None])[0]) for c, p in zip(true, picture, strict=True)]
    )
    known = fields.permute(0, 1, 4, 2, 3).to(true.device)
    found = warped(picture.repeat_interleave(true.shape[1], 0), known.flatten(0, 1)).view_as(true)
    sure = ((found - true).abs().mean(2, keepdim=True) < SURE).float()
    astray = (drawn.moved - true).abs().mean()
    off = (sure * (drawn.flow - known).abs()).mean()
    bends = torch.stack([drawn.flow.diff(dim=d).abs().mean() for d in (-1, -2)]).sum()
    loss = config.follow * (astray + off / FAR) + config.smooth * bends + config.doubt * (1 - drawn.trust).mean()
    return loss, {
        "trust": float(drawn.trust.detach().mean()),
        "astray": float(astray.detach()),
        "off": float(off.detach()),
    }


def copy_loss(drawn: Decoded, other: Decoded, config: DecoderTraining) -> tuple[Tensor, Logs]:
    """follow * (|moved picture's difference| + |flow's difference| / 20) + |trust's difference|: distillation."""
    pairs = [(drawn.moved, other.moved), (drawn.flow, other.flow), (drawn.trust, other.trust)]
    moved, flow, trust = ((a - b).abs().mean() for a, b in pairs)  # type: ignore[operator]
    loss = config.follow * (moved + flow / FAR) + trust
    return loss, {"moved": float(moved.detach()), "off": float(flow.detach()), "trust": float(trust.detach())}


def train_decoder(
    decoder: SmallDecoder,
    model: VideoModel,
    clips: ClipStore | VideoBatches,
    config: DecoderTraining,
    run_dir: Path,
) -> SmallDecoder:
    """Train (or resume) and return the averaged decoder.

    A finished run may be ended again, with more or less trust or another window.
    """
    task: DrawTask
    ended = (
        decoder.locally_affine(config.window) if config.window else decoder
    )  # an impossible setting raises before the work
    if isinstance(clips, ClipStore):
        task = DecoderTask(decoder, model, clips, config)
    else:
        task = ShardDecoderTask(decoder, model, clips, config)
    run(task, config, run_dir, {"task": "decoder", **config.model_dump(exclude={"trust", "window"})})
    task.averages["decoder"].into(decoder)
    ended.begin_as(decoder)
    if ended.guide is not None:
        ended.guide.set_trust_bias(config.trust)
    return ended.eval()


def train_decoders(model: VideoModel, clips: ClipStore | VideoBatches, plan: Stages, folder: Path) -> SmallDecoder:
    """Every stage of a plan, each begun as the one before it (the first as the model's own, if it has one)."""
    channels, y, _ = model.codec.latent_shape(1, SIDE, SIDE)[1:]
    for i, stage in enumerate(plan):
        assert isinstance(stage, DecoderTraining)
        decoder = new_decoder(channels, SIDE // y, seed=0, depth=stage.depth, joined=stage.joined)
        if model.small is not None:
            decoder.begin_as(model.small)
        on = _codec_device(model)
        model = replace(model, small=train_decoder(decoder.to(on), model, clips, stage, folder / str(i)))
    assert model.small is not None
    return model.small
