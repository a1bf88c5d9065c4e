"""Matte training: alpha of real stickers from what the model's codec makes of them over white."""

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Optimizer

from sfv.data.stickers import ClipStore, by_family, draw, over_background, random_placement
from sfv.decoding.matte import Matte
from sfv.families.base import VideoModel
from sfv.system.device import bf16_autocast
from sfv.training.config import MatteTraining
from sfv.training.ema import EMA
from sfv.training.health import Rule
from sfv.training.logs import Logs
from sfv.training.loop import run
from sfv.training.optimizers import Muon
from sfv.training.seeds import Seeds
from sfv.types import Pixels


class MatteTask:
    """One optimiser over the matte; the model stands still."""

    rules: tuple[Rule, ...] = ()
    quiet_until = 0

    def __init__(self, matte: Matte, model: VideoModel, store: ClipStore, config: MatteTraining) -> None:
        self.matte, self.model, self.store, self.config = matte.train(), model, store, config
        self.families = by_family(store.split("train"))
        self.modules: dict[str, nn.Module] = {"matte": matte}
        self.optimizers: dict[str, Optimizer] = {"matte": Muon(matte.parameters(), config.lr)}
        self.averages = {"matte": EMA(matte, config.ema)}

    def step(self, step: int, seeds: Seeds) -> Logs:
        """One update on windows of fresh clips."""
        rng, device = seeds.one(), self.model.device
        clips = [self._clip(rng) for _ in range(self.config.clips)]
        firsts, windows = (torch.stack(v).to(device) for v in zip(*clips, strict=True))
        white = torch.ones(3, *windows.shape[-2:], device=device)
        true = windows[:, :, 3:]
        with bf16_autocast(device, self.config.precision == "bf16"):
            picture = over_background(firsts, white)
            seen = self._seen(torch.stack([over_background(w, white) for w in windows]), rng)
            logits = self.matte.logits(seen, picture, firsts[:, 3:])
        alpha = logits.float().sigmoid()
        loss = F.binary_cross_entropy_with_logits(logits.float(), true) + (alpha - true).abs().mean()
        loss.backward()
        nn.utils.clip_grad_norm_(self.matte.parameters(), self.config.clip)
        self.optimizers["matte"].step()
        self.optimizers["matte"].zero_grad(set_to_none=True)
        return {"loss": float(loss.detach()), "error": float((alpha.detach() - true).abs().mean())}

    def _clip(self, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        """First frame (4, h, w) and a later window (f, 4, h, w) of one clip, RGBA in [0, 1]."""
        frames, span = self.config.frames, self.model.defaults.frames
        stride = max(1, round(self.store.fps / self.model.defaults.fps))
        start, at = (int(torch.randint(n, (), generator=rng)) for n in (72, span - frames + 1))
        clip = random_placement(self.store.rgba(draw(self.families, rng), start, span, stride), rng)
        return clip[0], clip[at : at + frames]

    @torch.no_grad()
    def _seen(self, pixels: Pixels, rng: torch.Generator) -> Pixels:
        """Through the codec and its own decoder (a guided one would draw a clip's start), latents a little noised."""
        latents = self.model.codec.encode(pixels)
        n = torch.randn(latents.shape, generator=rng).to(latents.device)
        return self.model.decode(latents + self.config.noise * latents.std() * n, decoder="full").clamp(-1, 1)


def train_matte(matte: Matte, model: VideoModel, store: ClipStore, config: MatteTraining, run_dir: Path) -> Matte:
    """Train (or resume) and return the averaged matte."""
    task = MatteTask(matte, model, store, config)
    run(task, config, run_dir, {"task": "matte", **config.model_dump()})
    task.averages["matte"].into(matte)
    return matte.eval()
