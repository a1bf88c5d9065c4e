"""A protocol with its clips and opened networks: everything that every row of a table shares."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import torch

from sfv.evaluation.extract import basis_of, one_thread, rows_of_real
from sfv.evaluation.features import LPIPS, Extractor, extractors
from sfv.evaluation.features.weights import Weights, read_weights
from sfv.evaluation.protocol import Protocol, read_protocol
from sfv.evaluation.real_clips import ClipSet, open_set
from sfv.evaluation.settings import EvaluateSettings
from sfv.measures.distances import Rows, frechet_distance
from sfv.media import write_picture

SCALE = 1000
"""Of distances over z-scored axes, so that they read as numbers of people's size; published FVD is not scaled."""


HALVINGS = 50
"""Random ones, over which the distance between two halves is a mean; drawn by seed 0, the same for every network."""


def between_halves(rows: Rows) -> float:
    """Mean Frechet distance between two halves of the rows, halved at random HALVINGS times.

    Clips stand in the order of their names, which is one of subjects: faces against things is not chance.
    """
    half, rng = len(rows) // 2, torch.Generator().manual_seed(0)
    orders = [torch.randperm(len(rows), generator=rng) for _ in range(HALVINGS)]
    return fmean(frechet_distance(rows[o[:half]], rows[o[half : 2 * half]]) for o in orders)


@dataclass(frozen=True)
class Reference:
    """A protocol with its clips and opened networks: everything that every row shares."""

    protocol: Protocol
    real: ClipSet
    nets: dict[str, Extractor]
    axes: dict[str, Callable[[Rows], Rows]]
    true: dict[str, Rows]
    lpips: Weights | None
    workers: int

    def scale(self, kind: str) -> float:
        """What a network's distances are multiplied with."""
        return SCALE if self.nets[kind].dims else 1.0

    def distances(self, rows: dict[str, Rows]) -> dict[str, float]:
        """Of every network's feature rows of clips to those of the real ones, and their mean."""
        with one_thread():
            found = {k: self.scale(k) * frechet_distance(self.axes[k](v), self.true[k]) for k, v in rows.items()}
        return {"mean": sum(found.values()) / len(found)} | found

    def half_to_half(self) -> dict[str, float]:
        """Of every network: the distance between two halves of the real clips, which chance alone gives."""
        with one_thread():
            return {k: self.scale(k) * between_halves(v) for k, v in self.true.items()}

    def identity(self) -> dict[str, Any]:
        """What two results must share to be compared."""
        p = self.protocol
        return {
            "name": p.name,
            "hash": p.digest(),
            "data": self.real.digest,
            "clips": len(self.real.clips),
            "frames": p.frames,
            "fps": p.fps,
            "size": [p.height, p.width],
            "part": p.part,
            "whole": p.whole,
            **({} if p.seeds == "one" else {"seeds": p.seeds}),
            **({} if p.takes == 1 else {"takes": p.takes}),
            "baselines": p.baselines.model_dump(),
            "extractors": {k: n.hash[:16] for k, n in self.nets.items()},
        }


def open_reference(data: Path, settings: EvaluateSettings) -> Reference:
    """Read the protocol, open its networks and clips, and measure the real ones."""
    protocol = read_protocol(settings.protocol, settings.limit, settings.takes)
    real = open_set(data, protocol)
    nets = extractors(protocol, settings.weights)
    axes, true = {}, {}
    for kind, net in nets.items():
        rows = rows_of_real(real.clips, net, real.digest, settings.workers, "real")
        apart = bool(real.basis and net.dims)
        basis_rows = rows_of_real(real.basis, net, real.digest, settings.workers, "basis") if apart else rows
        with one_thread():
            axes[kind] = basis_of(net, basis_rows)
            true[kind] = axes[kind](rows)
    lpips = settings.weights / LPIPS if settings.weights else None
    seen = read_weights(lpips) if lpips and lpips.exists() else None
    return Reference(protocol, real, nets, axes, true, seen, settings.workers)


def write_pictures(reference: Reference, folder: Path) -> None:
    """The condition pictures, for those who make clips elsewhere."""
    folder.mkdir(parents=True, exist_ok=True)
    for clip in reference.real.clips:
        path = folder / f"{clip.id}.png"
        if not path.exists():
            write_picture(clip.read()[0], path)
