"""Whole loops with their conditions, encoded afresh for every draw: any frame starts, any place, any background."""

import json
from pathlib import Path

import torch
from torch import Tensor, nn

from sfv.data.loops import Loop, LoopSource, random_look
from sfv.families.base import Codec, Conditioner
from sfv.media import replacing
from sfv.training.batches import PICTURE, Draws, frame_difference, replaced
from sfv.training.seeds import Rngs, generator
from sfv.types import Cond, Latents, RgbaPixels

RANKED = 400
"""Loops over which a motion's rank is taken."""


class LoopBatches(Draws):
    """Loops resampled to `frames`; the rate that the network is told says how long one round takes.

    The motion id is the rank (0-255) of the loop's latent change from frame to frame among training loops. `learns` is
    the conditioner's own network, if it learns with the denoiser; otherwise conditions carry no gradient.
    """

    def __init__(
        self,
        source: LoopSource,
        codec: Codec,
        conditioner: Conditioner,
        frames: int,
        rest: float = 0.6,
        clear: float = 0.3,
        learns: nn.Module | None = None,
    ) -> None:
        self.source, self.codec, self.conditioner = source, codec, conditioner
        self.frames, self.rest, self.clear, self.learns = frames, rest, clear, learns
        self.ranks: Tensor | None = None

    def rank_motion(self, kept: Path) -> None:
        """Measure, or read from `kept`, the 256 quantiles of motion over training loops."""
        if not kept.exists():
            scores = [frame_difference(self._latents(generator(7, i))) for i in range(RANKED)]
            ranks = torch.quantile(torch.stack(scores), torch.linspace(0, 1, 256))
            with replacing(kept) as beside:
                beside.write_text(json.dumps([round(float(v), 5) for v in ranks]))
        self.ranks = torch.tensor(json.loads(kept.read_text()))

    def motion_rank(self, x0: Tensor) -> float:
        """0-255: where one loop's motion ranks."""
        assert self.ranks is not None, "rank_motion comes first"
        return float(torch.searchsorted(self.ranks, frame_difference(x0)).clamp(max=255))

    def draw(self, rngs: Rngs, drop: float = 0.0, louder: Tensor | None = None) -> tuple[Latents, Cond]:
        """x0 (b, f, c, h, w) and its cond; with probability `drop` a clip's picture is taken away."""
        _, x0, cond = self.with_pixels(rngs)
        keep = (rngs.uniform() >= drop).to(self.device)
        return x0, replaced(cond, self.conditioner.unconditional(cond), keep)

    def with_pixels(self, rngs: Rngs) -> tuple[RgbaPixels, Latents, Cond]:
        """The loops' frames too."""
        drawn = [self._calm(rng) for rng in rngs.each]
        clips, loops = (list(v) for v in zip(*drawn, strict=True))
        pixels = torch.stack(clips).to(self.device)
        x0 = self._encoded(pixels)
        told = {
            "fps": torch.tensor([self.frames / loop.seconds for loop in loops]),
            "motion": torch.tensor([self.motion_rank(x) if self.motion_id is None else self.motion_id for x in x0]),
            "program": torch.tensor([float(loop.program) for loop in loops]),
        }
        with torch.set_grad_enabled(self.learns is not None and torch.is_grad_enabled()):
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.autocast):
                cond = self.conditioner(pixels[:, 0], **told)
        return pixels, x0, cond | {PICTURE: pixels[:, 0]}

    @torch.no_grad()
    def _encoded(self, pixels: Tensor) -> Latents:
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.autocast):
            return self.codec.encode(pixels).float()

    def _calm(self, rng: torch.Generator) -> tuple[Tensor, Loop]:
        """One loop's pixels; one that moves no more than it may."""
        while True:
            pixels, loop = self._one(rng)
            if self.motion_most >= 255 or self.motion_rank(self._encoded(pixels[None])[0]) <= self.motion_most:
                return pixels, loop

    def _one(self, rng: torch.Generator) -> tuple[Tensor, Loop]:
        """(f, 4, h, w) in [-1, 1]."""
        loop = self.source.draw(rng)
        start, rest = torch.rand(2, generator=rng).tolist()
        times = (0.0 if rest < self.rest else start) + torch.arange(self.frames) / self.frames
        look = random_look(self.source.store.size, rng, self.clear)
        return look(loop.frames(times)) * 2 - 1, loop

    def _latents(self, rng: torch.Generator) -> Tensor:
        """One loop's, (f, c, y, x)."""
        return self._encoded(self._one(rng)[0][None])[0]
