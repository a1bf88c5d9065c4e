"""Small-decoder training: pixels from the frozen codec's latents, by reconstruction alone (TAESD's idea)."""

from pathlib import Path

import torch
from torch import nn
from torch.optim import Optimizer

from sfv.data.stickers import ClipStore
from sfv.families.base import Codec
from sfv.families.decoder import SmallDecoder
from sfv.training.codec import draw_clips, pixel_loss
from sfv.training.config import DecoderTraining
from sfv.training.ema import EMA
from sfv.training.loop import Logs, run
from sfv.training.optimizers import Muon
from sfv.training.seeds import Seeds


class DecoderTask:
    """One optimiser over the small decoder; the codec only encodes."""

    def __init__(self, decoder: SmallDecoder, codec: Codec, store: ClipStore, config: DecoderTraining) -> None:
        self.decoder, self.codec, self.store, self.config = decoder.train(), codec, store, config
        self.device = next(decoder.parameters()).device
        muon = Muon(decoder.parameters(), config.lr)
        self.modules: dict[str, nn.Module] = {"decoder": decoder}
        self.optimizers: dict[str, Optimizer] = {"decoder": muon}
        self.averages = {"decoder": EMA(decoder, config.ema)}

    def step(self, step: int, seeds: Seeds) -> Logs:
        """One update on fresh clips; the latents get a little noise, so that decoding forgives small errors."""
        rng = seeds.one()
        pixels = draw_clips(self.store, self.config, rng).to(self.device)
        with torch.autocast(self.device.type, torch.bfloat16):
            with torch.no_grad():
                latents = self.codec.encode(pixels)
                n = torch.randn(latents.shape, generator=rng).to(self.device)
                latents += self.config.noise * latents.std() * n
            loss, logs = pixel_loss(self.decoder(latents) - pixels, self.config)
        loss.backward()
        nn.utils.clip_grad_norm_(self.decoder.parameters(), self.config.clip)
        self.optimizers["decoder"].step()
        self.optimizers["decoder"].zero_grad(set_to_none=True)
        return {"loss": float(loss.detach()), **logs}


def train_decoder(
    decoder: SmallDecoder, codec: Codec, store: ClipStore, config: DecoderTraining, run_dir: Path
) -> SmallDecoder:
    """Train (or resume) and return the averaged decoder."""
    task = DecoderTask(decoder, codec, store, config)
    run(task, config, run_dir, {"task": "decoder", **config.model_dump()})
    task.averages["decoder"].into(decoder)
    return decoder.eval()
