"""The discriminator of SF-V (2406.04324, Fig. 3): a frozen denoiser's encoder and small trained heads.

After each downsampling block one spatial head judges every frame and one temporal head judges every position's
course through time; each gives one logit per position. Fields the paper leaves open are settled after
StyleGAN-T (2301.09515): 1x1 entry, residual (f(x) + x) / sqrt2, projection on 64 channels; features are
standardised instead of weights spectrally normalised (reasons in LOG.md).
"""

import math
from contextlib import nullcontext

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sfv.edm.denoiser import Denoiser
from sfv.types import Cond, Features, Latents, Logits, Sigma

PROJECTION = 64


def fourier(values: Tensor, width: int, scale: float = 1.0) -> Tensor:
    """(n,) -> (n, width): cosines and sines of log-spaced frequencies."""
    frequencies = scale * torch.exp(torch.linspace(0, math.log(100), width // 2, device=values.device))
    angles = values.float()[:, None] * frequencies
    return torch.cat([angles.cos(), angles.sin()], 1)


class Projection(nn.Module):
    """logit = sum(h * affine(c)) / sqrt(64) + bias(h) at every position (projection discriminator 1802.05637)."""

    def __init__(self, conditioning: int) -> None:
        super().__init__()
        self.affine = nn.Linear(conditioning, PROJECTION)

    def forward(self, h: Tensor, conditioning: Tensor) -> Tensor:
        """h (n, 64, positions), conditioning (n, c) -> (n, positions)."""
        return (h * self.affine(conditioning)[:, :, None]).sum(1) / math.sqrt(PROJECTION)


class SpatialHead(nn.Module):
    """Conv2d, residual block, Conv2d on each frame alone; conditioned on picture, noise level and frame index."""

    def __init__(self, channels: int, width: int, conditioning: int) -> None:
        super().__init__()
        self.enter = nn.Conv2d(channels, width, 1)
        self.norm = nn.GroupNorm(_groups(width), width)
        self.inner = nn.Conv2d(width, width, 3, padding=1)
        self.leave = nn.Conv2d(width, PROJECTION, 1)
        self.project = Projection(conditioning + 16)

    def forward(self, features: Features, conditioning: Tensor) -> Logits:
        """(b, f, c, h, w) -> (b, f * h * w)."""
        b, f = features.shape[:2]
        h = F.leaky_relu(self.enter(features.flatten(0, 1)), 0.2)
        h = (F.leaky_relu(self.inner(self.norm(h)), 0.2) + h) / math.sqrt(2)
        frame = fourier(torch.linspace(0, 1, f, device=h.device), 16).repeat(b, 1)
        logits: Tensor = self.project(
            self.leave(h).flatten(2), torch.cat([conditioning.repeat_interleave(f, 0), frame], 1)
        )
        return logits.reshape(b, -1)


class TemporalHead(nn.Module):
    """Conv1d, residual block, Conv1d along time at each position alone; conditioned on picture and noise level."""

    def __init__(self, channels: int, width: int, conditioning: int) -> None:
        super().__init__()
        self.enter = nn.Conv1d(channels, width, 1)
        self.norm = nn.GroupNorm(_groups(width), width)
        self.inner = nn.Conv1d(width, width, 3, padding=1, padding_mode="replicate")
        self.leave = nn.Conv1d(width, PROJECTION, 1)
        self.project = Projection(conditioning)

    def forward(self, features: Features, conditioning: Tensor) -> Logits:
        """(b, f, c, h, w) -> (b, h * w * f)."""
        b, _, _, rows, columns = features.shape
        x = features.permute(0, 3, 4, 2, 1).flatten(0, 2)
        h = F.leaky_relu(self.enter(x), 0.2)
        h = (F.leaky_relu(self.inner(self.norm(h)), 0.2) + h) / math.sqrt(2)
        logits: Tensor = self.project(self.leave(h), conditioning.repeat_interleave(rows * columns, 0))
        return logits.reshape(b, -1)


class ClipHead(nn.Module):
    """One logit for the clip, attention-pooled over positions and frames; conditioned on picture and noise level."""

    def __init__(self, channels: int, width: int, conditioning: int) -> None:
        super().__init__()
        self.enter = nn.Linear(channels, width)
        self.attend = nn.Linear(width, 4)
        self.inner = nn.Linear(4 * width, width)
        self.leave = nn.Linear(width, PROJECTION)
        self.project = Projection(conditioning)

    def forward(self, features: Features, conditioning: Tensor) -> Logits:
        """(b, f, c, h, w) -> (b, 1)."""
        h = F.leaky_relu(self.enter(features.movedim(2, -1).flatten(1, 3)), 0.2)
        pooled = self.attend(h).softmax(1).transpose(1, 2) @ h
        h = F.leaky_relu(self.inner(pooled.flatten(1)), 0.2)
        logits: Tensor = self.project(self.leave(h)[:, :, None], conditioning)
        return logits


KINDS: dict[str, type[SpatialHead | TemporalHead | ClipHead]] = {"s": SpatialHead, "t": TemporalHead, "c": ClipHead}


def _groups(width: int) -> int:
    return math.gcd(32, width)


def standardised(features: Features) -> Features:
    """Mean 0 and spread 1 per clip and channel group: backbones' scales differ tenfold from block to block."""
    return F.group_norm(features.transpose(1, 2), _groups(features.shape[2])).transpose(1, 2)


class Discriminator(nn.Module):
    """Frozen backbone, trained heads. `backbone` is any Denoiser; its weights never change nor are saved here.

    `kinds` names the heads of every tap: s(patial), t(emporal), c(lip). With `differences` (the latents' channels)
    a last tap shows the heads how the clean latents change from frame to frame, in units of `difference_scale`, so that
    they see by how much. A generator that learns by adapters (added afterwards) may be its own backbone: features are
    taken without them. With `rank` the backbone, a network of its own, learns by adapters too.
    """

    def __init__(
        self, backbone: Denoiser, width: int = 64, kinds: str = "st", differences: int = 0, rank: int = 0
    ) -> None:
        super().__init__()
        self._backbone = [backbone.eval().requires_grad_(False)]
        conditioning, self.differences = backbone.embed_width + 32, differences > 0
        channels = [*backbone.feature_channels, *([differences] if differences else [])]
        places = [(f"{k}{i}", k, i) for i in range(len(channels)) for k in kinds]
        self.heads = nn.ModuleDict({name: KINDS[k](channels[i], width, conditioning) for name, k, i in places})
        self.taps = {name: i for name, _, i in places}
        """Head -> the map that it looks at."""
        self.learns = rank > 0
        """Whether the backbone itself learns, by adapters: then features carry their gradient."""
        if rank:
            backbone.adapt(rank)
        self.difference_scale: Tensor
        """(c,): spread of each latent channel's change from frame to frame in real clips; set by whoever trains."""
        self.register_buffer("difference_scale", torch.ones(differences), persistent=False)

    @property
    def adapters(self) -> list[nn.Parameter]:
        """The backbone's own, as they are now: sharding puts others in their place."""
        return [p for p in self.backbone.parameters() if p.requires_grad] if self.learns else []

    @property
    def backbone(self) -> Denoiser:
        """The frozen denoiser."""
        return self._backbone[0]

    def features(self, x: Latents, sigma: Sigma, cond: Cond, clean: Latents | None = None) -> list[Features]:
        """Backbone features of noised latents x, then the differences of `clean` (of x where it is not given).

        Gradients flow to x and `clean`, never to the backbone's own weights.
        """
        with nullcontext() if self.learns else self.backbone.plain():
            maps = [standardised(h.float()) for h in self.backbone.features(x, sigma, cond)]
        if not self.differences:
            return maps
        shown = x if clean is None else clean
        return [*maps, (shown[:, 1:] - shown[:, :-1]).float() / self.difference_scale[:, None, None]]

    def logits(self, features: list[Features], sigma: Sigma, cond: Cond) -> list[Logits]:
        """One tensor per head, in the order of `heads`."""
        level = fourier(self.backbone.coefficients(sigma.float()).c_noise, 32)
        embedding = self.backbone.embedding(cond)
        conditioning = level if embedding is None else torch.cat([F.normalize(embedding, dim=-1), level], 1)
        return [head(features[self.taps[name]], conditioning) for name, head in self.heads.items()]

    def forward(self, x: Latents, sigma: Sigma, cond: Cond, clean: Latents | None = None) -> list[Logits]:
        """Logits of noised latents."""
        return self.logits(self.features(x, sigma, cond, clean), sigma, cond)
