"""Distance between what a network made and what its codec makes of the real clips, before any decoder.

A decoder that draws well from the picture can hide a poor denoiser, and a poor one a good denoiser. Latents of
different codecs live in different spaces: their distances compare only as shares of the still picture's in each.
"""

import copy
import hashlib
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace

import torch

from sfv.evaluation.candidates import CODED, REAL, STILL, Subject, still
from sfv.evaluation.extract import basis_of, one_thread, rows_of, rows_of_real
from sfv.evaluation.features import Extractor
from sfv.evaluation.features.weights import Row
from sfv.evaluation.real_clips import RealClip
from sfv.evaluation.reference import SCALE, Reference
from sfv.evaluation.table import Spread
from sfv.families.base import Codec
from sfv.measures.distances import Rows, averaged, frechet_distance, resample
from sfv.types import Frames

AXES = 32
"""Principal axes of the basis clips' latents that are kept."""


@dataclass(frozen=True)
class Space:
    """A codec's latents: how clips come into it, its axes, and where the real clips and the still pictures lie."""

    net: Extractor
    axes: Callable[[Rows], Rows]
    real: Rows
    still: Rows


@dataclass(frozen=True)
class LatentDistance:
    """A row's Frechet distance in latents, times 1000, and what share it is of the still picture's in the same codec
    (None if that is 0)."""

    spread: Spread
    to_still: float | None


def latent_distances(subjects: list[Subject], reference: Reference) -> dict[str, LatentDistance]:
    """By the row's name: models' in their own codec, all others' in that of the last model.

    Empty if no row has a codec.
    """
    codecs = [s.codec for s in subjects if s.codec is not None]
    if not codecs:
        return {}
    opened: dict[str, Space] = {}
    found = {}
    for one in subjects:
        net = extractor(one.codec or codecs[-1], reference.real.clips[0].read())
        if net.hash not in opened:
            opened[net.hash] = open_space(net, reference)
        found[one.name] = _distance(one, opened[net.hash], reference)
    return found


def extractor(codec: Codec, sample: Frames) -> Extractor:
    """A codec as a feature network, in its weights' precision; its hash is that of what it makes of a clip, so that
    codecs of one encoder are one, whatever their decoders."""
    exact = copy.copy(codec)
    exact.encode_dtype = None

    @torch.inference_mode()
    def row(frames: Frames) -> Row:
        pixels = frames.permute(0, 3, 1, 2)[None].to(next(exact.parameters()).device).float() / 127.5 - 1
        return exact.encode(pixels).float().flatten().cpu()

    with one_thread():
        digest = hashlib.sha256(row(sample).numpy().tobytes()).hexdigest()
    return Extractor("latents", digest, AXES, row)


def open_space(net: Extractor, reference: Reference) -> Space:
    """Encode the basis clips (the real ones if there are none), the real ones and their still pictures; rows are kept
    on disk."""
    clips, digest = reference.real.clips, reference.real.digest
    real = rows_of_real(clips, net, digest, reference.workers, "real")
    basis = (
        rows_of_real(reference.real.basis, net, digest, reference.workers, "basis") if reference.real.basis else real
    )
    stills = rows_of_real([_still(c) for c in clips], net, digest, reference.workers, "still")
    with one_thread():
        axes = basis_of(net, basis)
        return Space(net, axes, axes(real), axes(stills))


def _still(clip: RealClip) -> RealClip:
    return replace(clip, id=f"{clip.id}/still", read=lambda: still(clip.read()))


def _distance(one: Subject, space: Space, reference: Reference) -> LatentDistance:
    def measure(a: Rows, b: Rows) -> float:
        return SCALE * frechet_distance(a, b)

    takes, p = [_rows(take, space, reference) for take in one.takes], reference.protocol
    with one_thread():
        found = averaged([resample(measure, rows, space.real, p.bootstrap, p.seed) for rows in takes]).interval()
        least = measure(space.still, space.real)
    return LatentDistance(asdict(found), found.value / least if least > 0 else None)


def _rows(one: Subject, space: Space, reference: Reference) -> Rows:
    """What a network made; for the codec alone that is the real clips' own latents; of all else the frames, encoded."""
    if one.name in (REAL, CODED, STILL):
        return space.still if one.name == STILL else space.real
    count = len(reference.real.clips)
    if one.latents is None:
        found, _ = rows_of({"latents": space.net}, one.read, count, reference.workers, f"{one.name} latents")
        rows = found["latents"]
    else:
        rows = torch.stack([one.latents(i).float().flatten() for i in range(count)])
    with one_thread():
        return space.axes(rows)
