"""Latent windows with their conditions: what a denoiser's training step draws."""

import torch
from torch import Tensor

from sfv.data.encode import render
from sfv.data.shards import Entry, Shards
from sfv.data.stickers import ClipStore
from sfv.edm.denoiser import per_clip
from sfv.families.base import Codec, Conditioner
from sfv.types import Cond, Latents


class Batches:
    """Windows of `frames` latents, families evenly, at the shards' rate or half of it.

    The condition latent is encoded afresh from noised pixels (ln s_c ~ N(-3, 0.5^2), SVD's law); the motion id is
    the rank (0-255) of the window's latent frame difference among the training windows.
    """

    def __init__(
        self,
        shards: Shards,
        store: ClipStore,
        codec: Codec,
        conditioner: Conditioner,
        frames: int,
        half: float = 0.15,
        rest: float = 0.8,
    ) -> None:
        self.shards, self.store, self.codec, self.conditioner = shards, store, codec, conditioner
        self.frames, self.half, self.rest = frames, half, rest
        self.device = next(codec.parameters()).device
        self.clips = {(c.id): c for c in store.clips}
        grouped: dict[str, list[Entry]] = {}
        for e in shards.entries:
            grouped.setdefault(e.family, []).append(e)
        self.families = [grouped[k] for k in sorted(grouped)]
        self.ranks = self._motion_quantiles()

    def _motion_quantiles(self) -> Tensor:
        """256 quantiles of frame difference over 1,000 windows drawn with a fixed seed."""
        rng = torch.Generator().manual_seed(0)
        scores = [frame_difference(self._window(rng)[0]) for _ in range(1000)]
        return torch.quantile(torch.stack(scores), torch.linspace(0, 1, 256))

    def motion_id(self, x0: Tensor) -> float:
        """0-255: where this window's motion ranks."""
        return float(torch.searchsorted(self.ranks, frame_difference(x0)).clamp(max=255))

    def draw(self, b: int, rng: torch.Generator, drop: float = 0.0) -> tuple[Latents, Cond]:
        """x0 (b, f, c, h, w) and its cond; with probability `drop` a clip's picture is taken away."""
        drawn = [self._window(rng) for _ in range(b)]
        x0 = torch.stack([w for w, *_ in drawn]).to(self.device)
        aug = (-3 + 0.5 * torch.randn(b, generator=rng)).exp()
        ids = [[rate - 1, self.motion_id(w), float(a)] for (w, _, _, rate), a in zip(drawn, aug, strict=True)]
        cond = {
            "image_latents": self._noised_pictures([(e, at) for _, e, at, _ in drawn], aug, rng),
            "image_embeds": torch.stack([self.shards.embed(e, at) for _, e, at, _ in drawn]).to(self.device),
            "added_time_ids": torch.tensor(ids, device=self.device),
        }
        keep = (torch.rand(b, generator=rng) >= drop).float().to(self.device)
        without = self.conditioner.unconditional(cond)
        mixed = {k: torch.where(_like(keep, v) > 0, v, without[k]) for k, v in cond.items()}
        return x0, mixed

    def _window(self, rng: torch.Generator) -> tuple[Tensor, Entry, int, float]:
        """Latents, entry, first kept frame, frames per second. Most windows start at the rest pose, as pictures do."""
        family = self.families[int(torch.randint(len(self.families), (), generator=rng))]
        e = family[int(torch.randint(len(family), (), generator=rng))]
        rest, half = torch.rand(2, generator=rng).tolist()
        first = 0 if rest < self.rest else int(torch.randint(e.count, (), generator=rng))
        stride = 2 if half < self.half else 1
        return self.shards.window(e, first, self.frames, stride), e, first, self.shards.fps / stride

    @torch.no_grad()
    def _noised_pictures(self, at: list[tuple[Entry, int]], aug: Tensor, rng: torch.Generator) -> Tensor:
        step = round(self.store.fps / self.shards.fps)
        pixels = [render(self.store, self.clips[e.id], e.version, first * step, 1, 1) for e, first in at]
        clean = torch.stack(pixels)
        noised = (clean + per_clip(aug) * torch.randn(clean.shape, generator=rng)).to(self.device)
        with torch.autocast(self.device.type, torch.bfloat16):
            return self.codec.posterior(noised)[0][:, 0].float()


def frame_difference(x0: Tensor) -> Tensor:
    """Root mean square of latent change from frame to frame, (f, c, h, w) -> scalar."""
    return (x0[1:] - x0[:-1]).square().mean().sqrt()


def _like(values: Tensor, target: Tensor) -> Tensor:
    return values.reshape(-1, *[1] * (target.dim() - 1)).expand_as(target)
