"""Latent windows with their conditions: what a denoiser's training step draws."""

import copy
import hashlib
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, nn

from sfv.data.encode_stickers import render
from sfv.data.shards import ClipShards, Entry, Shards
from sfv.data.stickers import ClipStore
from sfv.errors import SfvError
from sfv.families.base import Codec, Conditioner
from sfv.system.device import bf16_autocast
from sfv.training.seeds import Rngs
from sfv.types import AnyPixels, Cond, Latents, Picture

PICTURE = "picture"
"""Key of a drawn cond under which the picture itself lies, for those who look at clips; no denoiser reads it."""

S = TypeVar("S", bound="ClipSampler")


class ClipSampler:
    """Where a denoiser's training takes clips from."""

    codec: Codec
    conditioner: Conditioner
    autocast = True
    """Encode condition pictures in bfloat16."""
    motion_id: float | None = None
    """Motion in every clip's condition; None for the rank of its own motion among the training clips, 0-255."""
    motion_most: float = 255
    """Clips whose rank is above this are not drawn."""
    picture_spread: float | None = None
    """How far apart the last draw's clips were in what their conditions hold of their pictures, as a share of its size:
    near zero, no network can know them. None where it is not measured."""
    learns: nn.Module | None = None
    """A network of the conditioner that learns with the denoiser: then drawn conditions carry its gradient."""

    @property
    def device(self) -> torch.device:
        """Where drawn clips lie."""
        return next(self.codec.parameters()).device

    def limited(self: S, motion_id: float | None, motion_most: float) -> S:
        """The same clips under other limits; this sampler stays as it is."""
        other = copy.copy(self)
        other.motion_id, other.motion_most = motion_id, motion_most
        return other

    def divided(self: S, share: float) -> tuple[S, S]:
        """Clips to learn from, and clips of other sources that are held out, about `share` of all; without, all twice.

        SfvError where none can be held out.
        """
        if share == 0:
            return self, self
        raise SfvError("held_out is for video shards; families of a clip store are held out by `sfv pack`")

    def decode(self, latents: Latents, cond: Cond) -> AnyPixels:
        """Pixels of latents that were made under a drawn condition."""
        return self.codec.decode(latents.float(), picture=cond.get(PICTURE))

    def pick(self, rngs: Rngs) -> "Picked":
        """One clip per generator, all of one shape; for `draw` as it stands here."""
        raise NotImplementedError(f"{type(self).__name__} draws in its own way")

    def with_pixels(self, rngs: Rngs) -> tuple[AnyPixels, Latents, Cond]:
        """Clips with their frames, drawn afresh: what a decoder learns from."""
        raise NotImplementedError(f"{type(self).__name__} has no frames")

    def draw(self, rngs: Rngs, drop: float = 0.0, louder: Tensor | None = None) -> tuple[Latents, Cond]:
        """x0 (b, f, c, h, w) and its cond; with probability `drop` a clip's picture is taken away.

        `louder` (b,) multiplies the noise that a family puts on its condition.
        """
        got = self.pick(rngs)
        z, n = rngs.normal(), rngs.normal(1, *got.pictures.shape[1:])
        motion = got.motion if self.motion_id is None else torch.full_like(got.motion, self.motion_id)
        factor = torch.ones_like(z) if louder is None else louder
        given = [v.to(self.device) for v in (got.pictures, got.embeds, got.fps, motion, z, n, factor, got.x0)]
        with bf16_autocast(self.device, self.autocast):
            cond = self.conditioner.from_encoded(*given)
        keep = (rngs.uniform() >= drop).to(self.device)
        return given[-1], replaced(cond, self.conditioner.unconditional(cond), keep)


@dataclass(frozen=True)
class Picked:
    """Clips on the CPU: latents, first frames (b, 3, h, w) in [-1, 1], their embeddings, rates and motion ids (b,)."""

    x0: Latents
    pictures: Picture
    embeds: Tensor
    fps: Tensor
    motion: Tensor


class VideoBatches(ClipSampler):
    """Clips of one size each time, sizes as often as they hold clips; the motion id is the rank of a clip's flow."""

    def __init__(self, shards: ClipShards, codec: Codec, conditioner: Conditioner) -> None:
        self.shards, self.codec, self.conditioner = shards, codec, conditioner
        self.groups = list(shards.sizes.values())
        flows = torch.tensor([e.motion for e in shards.entries])
        order = flows.argsort(stable=True).argsort().float()
        self.motion = order * 255 / max(1, len(order) - 1)
        self._found: tuple[float, list[list[int]], list[Tensor]] | None = None

    def divided(self, share: float) -> tuple["VideoBatches", "VideoBatches"]:
        """By source: a number that its name gives says on which side it is, whatever else there is."""
        if share == 0:
            return self, self
        held = [int(hashlib.sha256(e.family.encode()).hexdigest()[:8], 16) < share * 2**32 for e in self.shards.entries]
        sides = []
        for side in (False, True):
            other = copy.copy(self)
            other.groups = [some for g in self.groups if (some := [i for i in g if held[i] == side])]
            if not other.groups:
                raise SfvError(
                    f"held_out={share:g} leaves one side without clips; choose another share, or more sources"
                )
            sides.append(other)
        return sides[0], sides[1]

    def pick(self, rngs: Rngs) -> Picked:
        """A size by its share of clips, the same on all ranks, then clips evenly."""
        calm = self._calm()
        shares = torch.tensor([float(len(g)) for g in calm])
        group = calm[int(torch.multinomial(shares, 1, generator=rngs.shared))]
        chosen = [int(group[torch.randint(len(group), (), generator=g)]) for g in rngs.each]
        latents, embeds, pictures = (torch.stack(v) for v in zip(*map(self.shards.clip, chosen), strict=True))
        fps = torch.full((len(rngs),), self.shards.fps)
        return Picked(latents, pictures, embeds, fps, self.motion[torch.tensor(chosen)])

    def _calm(self) -> list[Tensor]:
        """Of each size, the clips that move no more than they may: found once, since there may be millions."""
        known = self._found
        if known is None or known[0] != self.motion_most or known[1] is not self.groups:
            groups = [torch.tensor(g) for g in self.groups]
            known = self._found = self.motion_most, self.groups, [g[self.motion[g] <= self.motion_most] for g in groups]
        return known[2]


class Batches(ClipSampler):
    """Windows of `frames` latents, families evenly, at the shards' rate or half of it.

    The motion id is the rank (0-255) of the window's latent frame difference among the training windows.
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

    def motion_rank(self, x0: Tensor) -> float:
        """0-255: where this window's motion ranks."""
        return float(torch.searchsorted(self.ranks, frame_difference(x0)).clamp(max=255))

    def pick(self, rngs: Rngs) -> Picked:
        """Windows drawn one by one."""
        drawn = [self._calm_window(rng) for rng in rngs.each]
        step = round(self.store.fps / self.shards.fps)
        pixels = [render(self.store, self.clips[e.id], e.version, at * step, 1, 1)[0] for _, e, at, _ in drawn]
        return Picked(
            torch.stack([w for w, *_ in drawn]),
            torch.stack(pixels),
            torch.stack([self.shards.embed(e, at) for _, e, at, _ in drawn]),
            torch.tensor([rate for *_, rate in drawn]),
            torch.tensor([self.motion_rank(w) for w, *_ in drawn]),
        )

    def _calm_window(self, rng: torch.Generator) -> tuple[Tensor, Entry, int, float]:
        """A window that moves no more than it may."""
        while True:
            drawn = self._window(rng)
            if self.motion_rank(drawn[0]) <= self.motion_most:
                return drawn

    def _window(self, rng: torch.Generator) -> tuple[Tensor, Entry, int, float]:
        """Latents, entry, first kept frame, frames per second. Most windows start at the rest pose, as pictures do."""
        family = self.families[int(torch.randint(len(self.families), (), generator=rng))]
        e = family[int(torch.randint(len(family), (), generator=rng))]
        rest, half = torch.rand(2, generator=rng).tolist()
        first = 0 if rest < self.rest else int(torch.randint(e.count, (), generator=rng))
        stride = 2 if half < self.half else 1
        return self.shards.window(e, first, self.frames, stride), e, first, self.shards.fps / stride


def frame_difference(x0: Tensor) -> Tensor:
    """Root mean square of latent change from frame to frame, (f, c, h, w) -> scalar."""
    return (x0[1:] - x0[:-1]).square().mean().sqrt()


def replaced(cond: Cond, without: Cond, keep: Tensor) -> Cond:
    """Each clip's own condition where `keep` (b,) is true, else the other."""
    return {k: torch.where(keep.reshape(-1, *[1] * (v.dim() - 1)), v, without[k]) for k, v in cond.items()}
