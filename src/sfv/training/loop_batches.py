"""Whole loops with their conditions: any frame starts, any place, any background."""

import json
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor, nn
from tqdm import tqdm

from sfv.data.loops import Loop, LoopSource, random_look
from sfv.errors import SfvError
from sfv.families.base import Conditioner, MovingCodec, fingerprint
from sfv.media import replacing
from sfv.system.device import bf16_autocast
from sfv.training.batches import PICTURE, ClipSampler, frame_difference, replaced
from sfv.training.loop_pool import EncodedLoop, LoopPool
from sfv.training.seeds import Rngs, generator
from sfv.types import Cond, Latents, RgbaPicture, RgbaPixels

RANKED = 400
"""Loops over which a motion's rank is taken."""
SEED = 7
"""Of the loops of pools and ranks."""


class LoopBatches(ClipSampler):
    """Loops resampled to `frames`; the rate in the condition gives the length of one round.

    The motion id is the rank (0-255) of the loop's latent change from frame to frame among training loops. `learns` is
    the conditioner's own network, if it learns with the denoiser; otherwise conditions carry no gradient. Loops are
    encoded for every draw, or, with `keep_pool`, taken from a pool of so many.
    """

    def __init__(
        self,
        source: LoopSource,
        codec: MovingCodec,
        conditioner: Conditioner,
        frames: int,
        rest: float = 0.6,
        clear: float = 0.3,
        learns: nn.Module | None = None,
    ) -> None:
        self.source, self.codec, self.conditioner = source, codec, conditioner
        self.moving, self.frames, self.rest, self.clear, self.learns = codec, frames, rest, clear, learns
        self.ranks: Tensor | None = None
        self.pool: LoopPool | None = None

    def keep_pool(self, folder: Path, count: int) -> None:
        """From now on draw from `count` loops, which are encoded when first drawn and kept in a folder."""
        size = self.source.store.size
        made_by = {"encoder": fingerprint(self.moving.encoder), "rest": self.rest, "clear": self.clear}
        made_by |= {"programmed": self.source.programmed}
        self.pool = LoopPool(folder, count, self.codec.latent_shape(self.frames, size, size), size, made_by)

    def rank_motion(self, kept: Path) -> None:
        """Measure, or read from `kept`, the 256 quantiles of motion over training loops."""
        if not kept.exists():
            count = min(RANKED, self.pool.count if self.pool else RANKED)
            scores = [frame_difference(self._loop(i).x0) for i in range(count)]
            ranks = torch.quantile(torch.stack(scores), torch.linspace(0, 1, 256))
            with replacing(kept) as beside:
                beside.write_text(json.dumps([round(float(v), 5) for v in ranks]))
        self.ranks = torch.tensor(json.loads(kept.read_text()))

    def motion_rank(self, x0: Tensor) -> float:
        """0-255: where one loop's motion ranks."""
        assert self.ranks is not None, "rank_motion comes first"
        return float(torch.searchsorted(self.ranks, frame_difference(x0)).clamp(max=255))

    def motions(self, count: int) -> Iterator[tuple[RgbaPicture, float]]:
        """Pictures (1, 4, h, w) of so many drawn loops, and the motion id of each loop."""
        for i in tqdm(range(count), desc="motion", unit="loop"):
            loop = self._loop(i)
            if loop.program == 0:
                yield loop.picture[None], self.motion_rank(loop.x0)

    def draw(self, rngs: Rngs, drop: float = 0.0, louder: Tensor | None = None) -> tuple[Latents, Cond]:
        """x0 (b, f, c, h, w) and its cond; with probability `drop` a clip's picture is taken away."""
        if louder is not None:
            raise SfvError("condition_growth: a whole loop's picture has no noise that could grow; leave it at 0")
        loops = [self._calm(rng) for rng in rngs.each]
        x0, cond = self._conditioned(loops)
        self.picture_spread = self.conditioner.spread(cond)
        keep = (rngs.uniform() >= drop).to(self.device)
        return x0, replaced(cond, self.conditioner.unconditional(cond), keep)

    def with_pixels(self, rngs: Rngs) -> tuple[RgbaPixels, Latents, Cond]:
        """Loops drawn afresh, their frames too."""
        pixels, loops = (list(v) for v in zip(*(self._one(rng) for rng in rngs.each), strict=True))
        return torch.stack(pixels).to(self.device), *self._conditioned(
            [self._encoded(p, loop) for p, loop in zip(pixels, loops, strict=True)]
        )

    def _conditioned(self, loops: list[EncodedLoop]) -> tuple[Latents, Cond]:
        x0 = torch.stack([loop.x0 for loop in loops]).to(self.device)
        pictures = torch.stack([loop.picture for loop in loops]).to(self.device)
        knobs = {
            "fps": torch.tensor([self.frames / loop.seconds for loop in loops]),
            "motion": torch.tensor([self.motion_rank(x) if self.motion_id is None else self.motion_id for x in x0]),
            "program": torch.tensor([float(loop.program) for loop in loops]),
        }
        with torch.set_grad_enabled(self.learns is not None and torch.is_grad_enabled()):
            with bf16_autocast(self.device, self.autocast):
                cond = self.conditioner(pictures, **knobs)
        return x0, cond | {PICTURE: pictures}

    def _calm(self, rng: torch.Generator) -> EncodedLoop:
        """A loop that moves no more than it may."""
        while True:
            count = 2**40 if self.pool is None else self.pool.count
            loop = self._loop(int(torch.randint(count, (), generator=rng)))
            if self.motion_most >= 255 or self.motion_rank(loop.x0) <= self.motion_most:
                return loop

    def _loop(self, i: int) -> EncodedLoop:
        """Training loop number i."""
        return self._made(i) if self.pool is None else self.pool.get(i, self._made)

    def _made(self, i: int) -> EncodedLoop:
        return self._encoded(*self._one(generator(SEED, i)))

    @torch.no_grad()
    def _encoded(self, pixels: Tensor, loop: Loop) -> EncodedLoop:
        """Of frames (f, 4, h, w) in [-1, 1]."""
        with bf16_autocast(self.device, self.autocast):
            x0 = self.codec.encode(pixels[None].to(self.device))[0].float()
        return EncodedLoop(x0.to(pixels.device), pixels[0], loop.seconds, loop.program)

    def _one(self, rng: torch.Generator) -> tuple[Tensor, Loop]:
        """(f, 4, h, w) in [-1, 1]."""
        loop = self.source.draw(rng)
        start, rest = torch.rand(2, generator=rng).tolist()
        times = (0.0 if rest < self.rest else start) + torch.arange(self.frames) / self.frames
        look = random_look(self.source.store.size, rng, self.clear)
        return look(loop.frames(times)) * 2 - 1, loop
