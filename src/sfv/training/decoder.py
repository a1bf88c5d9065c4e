"""Small-decoder training: pixels from the frozen codec's latents, and copies of its own decoder (TAESD's idea)."""

from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn
from torch.optim import Optimizer

from sfv.data.stickers import ClipStore
from sfv.edm.denoiser import Denoiser
from sfv.families.base import Codec
from sfv.families.decoder import SmallDecoder
from sfv.training.batches import Draws
from sfv.training.codec import draw_clips, pixel_loss
from sfv.training.config import DecoderTraining
from sfv.training.ema import EMA
from sfv.training.loop import Logs, run
from sfv.training.optimizers import Muon
from sfv.training.seeds import Rngs, Seeds
from sfv.types import Latents, Pixels

Made = Callable[[Rngs], Latents]


class DecoderTask:
    """One optimiser over the small decoder; the codec stands still.

    Real clips teach it pictures. What a denoiser makes is softer and noisier than real latents; on such clips
    (`made` gives them) it learns to draw what the codec's own decoder draws.
    """

    def __init__(
        self, decoder: SmallDecoder, codec: Codec, store: ClipStore, config: DecoderTraining, made: Made
    ) -> None:
        self.decoder, self.codec, self.store, self.config, self.made = decoder.train(), codec, store, config, made
        self.device = next(decoder.parameters()).device
        muon = Muon(decoder.parameters(), config.lr)
        self.modules: dict[str, nn.Module] = {"decoder": decoder}
        self.optimizers: dict[str, Optimizer] = {"decoder": muon}
        self.averages = {"decoder": EMA(decoder, config.ema)}

    def step(self, step: int, seeds: Seeds) -> Logs:
        """One update on fresh clips, real or made."""
        rng = seeds.one()
        copies = float(torch.rand((), generator=rng)) < self.config.copy_share
        with torch.autocast(self.device.type, torch.bfloat16):
            latents, pixels = self._copied(seeds, rng) if copies else self._real(rng)
            loss, logs = pixel_loss(self.decoder(latents) - pixels, self.config)
        loss.backward()
        nn.utils.clip_grad_norm_(self.decoder.parameters(), self.config.clip)
        self.optimizers["decoder"].step()
        self.optimizers["decoder"].zero_grad(set_to_none=True)
        return {"loss": float(loss.detach()), **logs}

    @torch.no_grad()
    def _real(self, rng: torch.Generator) -> tuple[Latents, Pixels]:
        """Real clips and their latents with a little noise, so that decoding forgives small errors."""
        pixels = draw_clips(self.store, self.config, rng).to(self.device)
        latents = self.codec.encode(pixels)
        n = torch.randn(latents.shape, generator=rng).to(self.device)
        return latents + self.config.noise * latents.std() * n, pixels

    @torch.no_grad()
    def _copied(self, seeds: Seeds, rng: torch.Generator) -> tuple[Latents, Pixels]:
        """A window of made clips as the codec's own decoder draws it; whole clips are decoded, as in use."""
        latents = self.made(seeds.clips(self.config.clips))
        first = int(torch.randint(latents.shape[1] - self.config.frames + 1, (), generator=rng))
        window = slice(first, first + self.config.frames)
        return latents[:, window], self.codec.decode(latents)[:, window]


def one_call(G: Denoiser, batches: Draws, sigma: float) -> Made:
    """What a denoiser makes of training pictures in one call from noise at `sigma`."""

    def made(rngs: Rngs) -> Latents:
        x0, cond = batches.draw(rngs)
        n = rngs.normal(*x0.shape[1:]).to(x0.device)
        return G((sigma**2 + 1) ** 0.5 * n, torch.full((len(x0),), sigma, device=x0.device), cond)

    return made


def train_decoder(
    decoder: SmallDecoder, codec: Codec, store: ClipStore, config: DecoderTraining, run_dir: Path, made: Made
) -> SmallDecoder:
    """Train (or resume) and return the averaged decoder."""
    task = DecoderTask(decoder, codec, store, config, made)
    run(task, config, run_dir, {"task": "decoder", **config.model_dump()})
    task.averages["decoder"].into(decoder)
    return decoder.eval()
