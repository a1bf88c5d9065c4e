"""Codec training: reconstruction of short clips through the posterior, with a light KL (LDM 2112.10752)."""

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from sfv.data.stickers import ClipStore, by_family, draw, over_background, random_background, random_placement
from sfv.families.base import FrameCodec
from sfv.system.device import bf16_autocast
from sfv.training.config import CodecTraining, PixelTraining
from sfv.training.ema import EMA
from sfv.training.health import Rule
from sfv.training.logs import Logs
from sfv.training.loop import run
from sfv.training.optimizers import Muon
from sfv.training.seeds import Seeds


def draw_clips(store: ClipStore, config: PixelTraining, rng: torch.Generator) -> Tensor:
    """Pixels of random clips, families evenly, (b, f, 3, h, w)."""
    families = by_family(store.split("train"))
    clips = []
    for _ in range(config.clips):
        clip = draw(families, rng)
        first, stride = torch.randint(1, 72, (2,), generator=rng).tolist()
        rgba = random_placement(store.rgba(clip, first, config.frames, 1 + stride % 4), rng)
        clips.append(over_background(rgba, random_background(store.size, rng, config.plain)))
    pixels = torch.stack(clips)
    if config.crop is None:
        return pixels
    y, x = torch.randint(store.size - config.crop + 1, (2,), generator=rng).tolist()
    return pixels[..., y : y + config.crop, x : x + config.crop]


def codec_loss(codec: FrameCodec, pixels: Tensor, n: Tensor, config: CodecTraining) -> tuple[Tensor, Logs]:
    """`pixel_loss` + kl * KL(posterior || unit Gaussian)."""
    mean, log_variance = codec.posterior(pixels)
    log_variance = log_variance.float().clamp(-30, 20)
    extra = config.noise * mean.detach().float().std()
    raw = mean.float() + ((0.5 * log_variance).exp() + extra) * n
    pixel, logs = pixel_loss(codec.decode_raw(raw).float() - pixels, config)
    kl = 0.5 * (mean.float() ** 2 + log_variance.exp() - 1 - log_variance).mean()
    loss = pixel + config.kl * kl
    more = {"kl": float(kl.detach()), "raw_std": float(mean.detach().std())}
    return loss, {"loss": float(loss.detach()), **logs, **more}


def pixel_loss(error: Tensor, config: PixelTraining) -> tuple[Tensor, Logs]:
    """|error| + mse * error^2 + edges * |gradient error|, of pixels in [-1, 1]."""
    steps = [error[..., 1:, :] - error[..., :-1, :], error[..., 1:] - error[..., :-1]]
    edge = torch.stack([s.abs().mean() for s in steps]).sum()
    mse = (error**2).mean()
    loss = error.abs().mean() + config.mse * mse + config.edges * edge
    return loss, {"psnr": float(-10 * (mse.detach() / 4).log10())}


class CodecTask:
    """One optimiser over encoder and decoder."""

    rules: tuple[Rule, ...] = ()
    quiet_until = 0

    def __init__(self, codec: FrameCodec, store: ClipStore, config: CodecTraining) -> None:
        self.codec, self.store, self.config = codec.train(), store, config
        self.device = next(codec.parameters()).device
        muon = Muon(codec.parameters(), config.lr)
        self.modules: dict[str, nn.Module] = {"codec": codec}
        self.optimizers: dict[str, Optimizer] = {"codec": muon}
        self.averages = {"codec": EMA(codec, config.ema)}

    def step(self, step: int, seeds: Seeds) -> Logs:
        """One update on fresh clips."""
        rng = seeds.one()
        pixels = draw_clips(self.store, self.config, rng).to(self.device)
        shape = self.codec.latent_shape(*pixels.shape[1:2], *pixels.shape[3:])
        n = torch.randn(len(pixels), *shape, generator=rng).to(self.device)
        with bf16_autocast(self.device):
            loss, logs = codec_loss(self.codec, pixels, n, self.config)
        loss.backward()
        nn.utils.clip_grad_norm_(self.codec.parameters(), 1.0)
        self.optimizers["codec"].step()
        self.optimizers["codec"].zero_grad(set_to_none=True)
        return logs


def train_codec(codec: FrameCodec, store: ClipStore, config: CodecTraining, run_dir: Path) -> FrameCodec:
    """Train (or resume) and return the averaged codec."""
    task = CodecTask(codec, store, config)
    run(task, config, run_dir, {"task": "codec", **config.model_dump()})
    task.averages["codec"].into(codec)
    return codec.eval()
