"""The motion codec's decoder on what a denoiser makes: the encoder, and so the latents, stand still."""

import math
from pathlib import Path

import torch
from torch import nn
from torch.optim import Optimizer

from sfv.edm.noise import add_noise
from sfv.errors import SfvError
from sfv.families.base import VideoModel, softness
from sfv.families.motion.codec import MotionNetworks
from sfv.families.motion.narrowing import narrowed
from sfv.families.motion.networks import MotionCodec
from sfv.system.device import bf16_autocast
from sfv.training.batches import ClipSampler
from sfv.training.config import MotionDecoderTraining
from sfv.training.ema import EMA
from sfv.training.health import CONDITION_RULES
from sfv.training.logs import Logs
from sfv.training.loop import run
from sfv.training.objectives.motion_codec import reconstruction_loss
from sfv.training.objectives.perceptual import Perceptual
from sfv.training.optimizers import Muon
from sfv.training.parallel import ALONE, World, update
from sfv.training.seeds import Rngs, Seeds
from sfv.types import Cond, Latents, RgbaPicture, Softness

END = ("window", "bends", "strain", "strain_of_soft", "trust_bias", "draws")
"""What is set when training ends."""
FREE = {"window": 0.0, "bends": 1.0, "trust_bias": 0.0}
"""A free flow, and the decoder's own mask."""


class MotionDecoderTask:
    """One optimiser over the decoder.

    A denoiser's latents are wrong in other ways than noise makes them: so the decoder learns to draw the real frames
    from the denoiser's one answer to noised latents, and, for the rest of the clips, from their own latents.
    """

    def __init__(
        self,
        networks: MotionNetworks,
        model: VideoModel,
        batches: ClipSampler,
        config: MotionDecoderTraining,
        perceptual: Perceptual | None = None,
        world: World = ALONE,
    ) -> None:
        self.networks, self.model, self.batches, self.config = networks, model, batches, config
        self.perceptual, self.world = perceptual, world
        decoder = networks.decoder.train().requires_grad_(True)
        for part in decoder.idle():
            part.requires_grad_(False)
        self.params = [p for p in decoder.parameters() if p.requires_grad]
        self.modules: dict[str, nn.Module] = {"decoder": decoder}
        self.optimizers: dict[str, Optimizer] = {"decoder": Muon(self.params, config.lr)}
        self.averages = {"decoder": EMA(decoder, config.ema)}
        self.rules, self.quiet_until = CONDITION_RULES, 2 * config.log_every

    def step(self, step: int, seeds: Seeds) -> Logs:
        """One update on `frames` frames of fresh loops."""
        config, rngs = self.config, seeds.clips(self.config.clips)
        pixels, x0, cond = self.batches.with_pixels(rngs)
        latents = self._restored(x0, cond, rngs)
        some = torch.stack([1 + torch.randperm(x0.shape[1] - 1, generator=g)[: config.frames] for g in rngs.each])
        true, z = (torch.stack([v[i] for v, i in zip(values, some, strict=True)]) for values in (pixels, latents))
        soft = self._softness(pixels[:, 0]) if config.as_generated else None
        with bf16_autocast(x0.device):
            drawn, learning = self.networks.decoder(z * self.networks.std[:, None, None], pixels[:, 0], soft)
        loss, logs = reconstruction_loss(drawn, learning, pixels[:, 0], true, 1.0, rngs, config, self.perceptual)
        loss.backward()
        norm = update(self.params, self.optimizers["decoder"], self.world, config.clip)
        return {"loss": float(loss.detach()), **logs, "grad_norm": norm}

    @torch.no_grad()
    def _softness(self, pictures: RgbaPicture) -> Softness | None:
        """How sure it is that each thing bends, as in generation; None where nothing judges pictures."""
        return None if self.model.stiffness is None else softness(self.model.stiffness.judged(pictures)[0])

    @torch.no_grad()
    def _restored(self, x0: Latents, cond: Cond, rngs: Rngs) -> Latents:
        """The denoiser's one answer at a level drawn evenly in ln sigma, for `restored` of the clips."""
        low, high = (math.log(s) for s in self.config.sigmas)
        sigma = (low + rngs.uniform() * (high - low)).exp().to(x0.device)
        chosen = (rngs.uniform() < self.config.restored).to(x0.device)
        n = rngs.normal(*x0.shape[1:]).to(x0.device)
        with bf16_autocast(x0.device):
            answer = self.model.denoiser(add_noise(x0, sigma, n), sigma, cond).float()
        return torch.where(chosen[:, None, None, None, None], answer, x0)


def train_motion_decoder(
    model: VideoModel,
    batches: ClipSampler,
    config: MotionDecoderTraining,
    run_dir: Path,
    perceptual: Perceptual | None = None,
    world: World = ALONE,
) -> MotionNetworks:
    """Train (or resume) a copy of the model's decoder and return the networks with its average.

    It learns with a free flow and its own mask, or under the settings of its end; what END names is set at the end, and
    a finished run may be ended again with other values.
    """
    assert isinstance(model.codec, MotionCodec)
    end = config.model_dump(include=set(END))
    networks = _smaller(model.codec.networks.for_generation(**(end if config.as_generated else FREE)), config)
    task = MotionDecoderTask(networks, model, batches, config, perceptual, world)
    kept = config.model_dump(mode="json", exclude=set(END))
    run(task, config, run_dir, {"task": "motion-decoder", **kept}, world)
    task.averages["decoder"].into(networks.decoder)
    return networks.for_generation(**end).eval().requires_grad_(False)


def _smaller(networks: MotionNetworks, config: MotionDecoderTraining) -> MotionNetworks:
    """With the blocks and channels that are wanted; those that it has if none are named."""
    if config.depth is not None:
        if any(a > b for a, b in zip(config.depth, networks.config.depth, strict=True)):
            raise SfvError(f"depth {list(config.depth)}: the decoder has {list(networks.config.depth)} blocks")
        networks = networks.slimmer(config.depth)
    if config.widths is None or config.widths == networks.config.widths:
        return networks
    return narrowed(networks, config.widths)
