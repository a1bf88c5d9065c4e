"""A few fixed clips, generated again and again by the averaged student: is it getting better, and which was best?

Figures: motion (mean over clips of the latent frame difference, as a share of the real clips') and a Frechet distance
between generated and real clips over the frozen teacher's own encoder features, means over positions and mean change
from frame to frame. It needs no other network, and compares within one run only; between runs `sfv evaluate` is the
reference.
"""

import json
import math
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from sfv.edm.denoiser import Denoiser
from sfv.errors import SfvError
from sfv.measures.distances import Basis, frechet_distance
from sfv.media import contact_sheet, replacing, write_picture
from sfv.media.pixels import shown
from sfv.training.batches import ClipSampler, frame_difference
from sfv.training.logs import Logs
from sfv.training.seeds import Seeds
from sfv.types import Cond, Features, Latents

SHOWN, DIMS, SEED = 4, 16, 0x5A3B1E
LEAST_MOTION = 0.8
"""Of the real clips' motion; a student with less pays for it in the choice of the best."""


class Samples:
    """`count` clips with their noise, drawn once; real features and pictures are kept."""

    def __init__(
        self,
        backbone: Denoiser,
        batches: ClipSampler,
        count: int,
        sigma: float,
        louder: float = 1.0,
        seen_at: float = 0.3,
    ) -> None:
        """`louder` is the factor of condition noise at `sigma` in training."""
        self.backbone, self.batches, self.sigma, self.seen_at = backbone, batches, sigma, seen_at
        self.clips: list[tuple[Latents, Cond, Latents]] = []
        for i in range(count):
            rngs = Seeds(SEED, i).clips(1)
            x0, cond = batches.draw(rngs, louder=None if louder == 1 else torch.full((1,), louder))
            self.clips.append((x0, cond, rngs.normal(*x0.shape[1:]).to(x0.device)))
        rows = torch.stack([self._row(x0, cond, n) for x0, cond, n in self.clips])
        self.basis = Basis(rows, min(DIMS, count - 1))
        self.real = self.basis(rows)

    @torch.no_grad()
    def look(self, G: Denoiser, picture: Path | None) -> Logs:
        """Figures of G's clips in one call each; a contact sheet (real above generated) to `picture`."""
        generated = [G((self.sigma**2 + 1) ** 0.5 * n, self._level(x0), cond) for x0, cond, n in self.clips]
        rows = torch.stack([self._row(x, cond, n) for x, (_, cond, n) in zip(generated, self.clips, strict=True)])
        motion = [
            frame_difference(x[0]) / frame_difference(x0[0]) for x, (x0, *_) in zip(generated, self.clips, strict=True)
        ]
        if picture:
            try:
                self._draw(generated, picture)
            except (SfvError, RuntimeError, OSError) as error:  # the run is worth more than its picture
                reason = str(error).strip().splitlines()[0]
                tqdm.write(f"{picture} could not be drawn ({reason}); training goes on")
        return {
            "sample_frechet": 1000 * frechet_distance(self.basis(rows), self.real),
            "sample_motion": float(torch.stack(motion).median()),
        }

    def _level(self, x0: Latents) -> Tensor:
        return torch.full((1,), self.sigma, device=x0.device)

    @torch.no_grad()
    def _row(self, x0: Latents, cond: Cond, n: Latents) -> Tensor:
        """One clip's features, on the CPU: mean and mean change over time of every channel of every tap."""
        level = torch.full((1,), self.seen_at, device=x0.device)
        with self.backbone.plain():
            maps = self.backbone.features(x0 + self.seen_at * n, level, cond)
        return torch.cat([v for h in maps for v in _moments(h)]).double().cpu()

    def _draw(self, generated: list[Latents], picture: Path) -> None:
        rows = []
        for i, (x, (x0, cond, _)) in enumerate(zip(generated[:SHOWN], self.clips, strict=False)):
            for name, latents in (("real", x0), ("one call", x)):
                rows.append((f"{i}: {name}", shown(self.batches.decode(latents, cond))))
        picture.parent.mkdir(parents=True, exist_ok=True)
        write_picture(contact_sheet(rows), picture)


def _moments(h: Features) -> tuple[Tensor, Tensor]:
    h = h.float()
    return h.mean((0, 1, 3, 4)), (h[:, 1:] - h[:, :-1]).abs().mean((0, 1, 3, 4))


def score(logs: Logs) -> float:
    """What the best checkpoint has least of: the Frechet distance, raised for clips that hardly move."""
    return logs["sample_frechet"] * max(1.0, LEAST_MOTION / max(logs["sample_motion"], 1e-3))


class Best:
    """The best samples of a run so far; survives a resume. One rank asks, and tells the others."""

    def __init__(self, run_dir: Path) -> None:
        self.path = run_dir / "best.json"
        self.score = float(json.loads(self.path.read_text())["score"]) if self.path.exists() else math.inf

    def beaten_by(self, step: int, logs: Logs) -> bool:
        """Whether these samples beat all before them; they are written down if so."""
        if score(logs) >= self.score:
            return False
        self.score = score(logs)
        with replacing(self.path) as beside:
            beside.write_text(json.dumps({"step": step, "score": self.score, **logs}, indent=1) + "\n")
        return True
