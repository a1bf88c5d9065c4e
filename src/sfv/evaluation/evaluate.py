"""`sfv evaluate`: make or read clips, extract, measure, publish; one frozen protocol from end to end."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import torch

from sfv.errors import SfvError
from sfv.evaluation.blind_test import write_blind
from sfv.evaluation.candidates import BASELINES, REAL, Subject, baselines, subject
from sfv.evaluation.clip_metrics import Facts, facts, ratio, summary
from sfv.evaluation.extract import one_thread, rows_of
from sfv.evaluation.features import LPIPS
from sfv.evaluation.features.weights import file_hash
from sfv.evaluation.latents import LatentDistance, latent_distances
from sfv.evaluation.origins import of_run
from sfv.evaluation.protocol import same_protocol
from sfv.evaluation.reference import HALVINGS, Reference, open_reference, write_pictures
from sfv.evaluation.report import publish
from sfv.evaluation.settings import EvaluateSettings
from sfv.evaluation.table import Measured, Pair, Result
from sfv.families.load import load
from sfv.measures.distances import (
    Resampled,
    Rows,
    averaged,
    frechet_distance,
    kernel_distance,
    paired_ratio,
    resample,
)
from sfv.settings import Speed, split_row, split_speed
from sfv.system.device import pick_device
from sfv.system.files import not_in_the_way
from sfv.types import Frames

RESULT = "table.json"
"""Written first."""
PICTURES = ("distances.svg", "contact-sheet.png")
WRITTEN = ("table.md", "table.tex", *PICTURES, "index.html", "blind.html", "blind-key.json")
"""What is written beside it."""
NOTHING = 1e-6
"""A distance below it is rounding: the row is the real clips, and a ratio to it means nothing."""


def evaluate(data: Path, settings: EvaluateSettings) -> Result:
    """Measure every model against a set's real clips; writes the report into `settings.out`.

    Clips made are kept under `out`/clips, so a run that was cut off goes on. Raises SfvError for too few clips, a
    network's file with a wrong hash, or an `against` of another protocol.
    """
    _check_names(settings)
    not_in_the_way(settings.out / RESULT, {"protocol", "rows"}, [settings.out / name for name in WRITTEN])
    earlier = read_result(settings.against) if settings.against else None
    reference = open_reference(data, settings)
    if earlier and settings.against:
        same_protocol(reference.identity(), earlier["protocol"], settings.against)
    subjects = _models(reference, settings)
    everyone = [*_baselines(reference, settings), *subjects]
    found = {one.name: _look(one, reference) for one in everyone}
    latents = latent_distances(everyone, reference)
    table = [_row(s, found[s.name], latents.get(s.name), found, subjects[0].name, reference) for s in everyone]
    count = len(reference.real.clips)
    pairs = paired({k: v.draws["mean"] for k, v in found.items()}, [s.name for s in subjects], count)
    result = Result(reference.identity() | _notes(reference, settings), table, pairs)
    publish(result, everyone, reference, {k: v.seen[:count] for k, v in found.items()}, settings.out, earlier)
    write_pictures(reference, settings.out / "pictures")
    if len(subjects) > 1:
        write_blind(subjects[0], subjects[-1], reference, settings.out)
    return result


def read_result(path: Path) -> dict[str, Any]:
    """An earlier table.json; SfvError if it is none."""
    try:
        found = json.loads(path.read_text())
        assert {"hash", "data", "extractors"} <= found["protocol"].keys() and found["rows"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, AssertionError) as error:
        reason = str(error) or "no protocol hash"
        raise SfvError(f"{path} is not a result of `sfv evaluate` ({reason}); name its table.json") from error
    return dict(found)


def _check_names(settings: EvaluateSettings) -> None:
    """SfvError for a row that cannot be read, or would be called as one that no model makes."""
    for row in settings.models:
        name = Path(split_row(row)[0]).name.partition("@")[0]
        if name in BASELINES:
            raise SfvError(
                f"--models {row}: {name!r} is what a row is called that no model makes ({', '.join(BASELINES)}); "
                "rename the folder"
            )


def _models(reference: Reference, settings: EvaluateSettings) -> list[Subject]:
    where = (
        reference.real,
        reference.protocol,
        settings.out / "clips",
        settings.decoder,
        settings.device,
        reference.lpips,
        settings.profile,
    )
    subjects = [subject(r, *where) for r in settings.models]
    if len({m.name for m in subjects}) < len(subjects):
        raise SfvError(
            f"two of --models would be called alike ({', '.join(m.name for m in subjects)}); rename a folder"
        )
    return subjects


def _baselines(reference: Reference, settings: EvaluateSettings) -> list[Subject]:
    """With the codec of the last row that is a model."""
    named = [
        split_speed(split_row(r)[0], Speed())[0]
        for r in settings.models
        if not Path(r).is_dir() or (Path(r) / "model_index.json").exists()
    ]
    square = reference.protocol.fit != "stretch"
    model = load(named[-1], pick_device(settings.device)) if named and square else None
    return baselines(reference.real, reference.protocol, model, settings.decoder)


@dataclass(frozen=True)
class Looked:
    """What was seen of a subject: by network its rows of each take, distances with their draws, and every clip's facts,
    take by take."""

    rows: dict[str, list[Rows]]
    draws: dict[str, Resampled]
    by_take: list[float]
    seen: list[Facts]


def _look(one: Subject, reference: Reference) -> Looked:
    """Rows and facts of every clip of a subject."""

    def measure(i: int, clip: Frames) -> Facts:
        return facts(clip, reference.real.clips[i].read(), reference.protocol.fps, reference.lpips)

    count, takes, seen = len(reference.real.clips), list[dict[str, Rows]](), list[Facts]()
    for i, take in enumerate(one.takes, 1):
        title = f"{one.name}, take {i}" if one.others else one.name
        found, looked = rows_of(reference.nets, take.read, count, reference.workers, title, measure)
        with one_thread():
            takes.append({k: reference.axes[k](v) for k, v in found.items()})
        seen += looked
    each = [resampled(rows, reference) for rows in takes]
    rows = {k: [take[k] for take in takes] for k in takes[0]}
    draws = {k: averaged([take[k] for take in each]) for k in each[0]}
    return Looked(rows, draws, [take["mean"].value for take in each], seen)


def _row(
    one: Subject,
    looked: Looked,
    latents: LatentDistance | None,
    every: dict[str, Looked],
    first: str,
    reference: Reference,
) -> Measured:
    mine = looked.seen
    with one_thread():
        kernels = {k: fmean(kernel(k, take, reference) for take in takes) for k, takes in looked.rows.items()}
    return Measured(
        name=one.name,
        calls=one.calls,
        seconds=one.seconds,
        unet_seconds=one.unet_seconds,
        frechet={k: asdict(v.interval()) for k, v in looked.draws.items()},
        by_take=looked.by_take if one.others else [],
        kernel=kernels,
        latents=latents.spread if latents else None,
        latents_to_still=latents.to_still if latents else None,
        motion_to_real=ratio(mine, every[REAL].seen),
        motion_to_teacher=ratio(mine, every[first].seen),
        diversity=one.diversity,
        diversity_lpips=one.diversity_lpips,
        origin=one.origin,
        **summary(mine),  # type: ignore[arg-type]
    )


def resampled(rows: dict[str, Rows], reference: Reference) -> dict[str, Resampled]:
    """Frechet distance and its draws for every network, and their mean's; the same draws of clips for every row."""

    def of(kinds: list[str]) -> Resampled:
        widths = [rows[k].shape[1] for k in kinds]

        def mean(a: Rows, b: Rows) -> float:
            parts = zip(kinds, a.split(widths, 1), b.split(widths, 1), strict=True)
            return sum(reference.scale(k) * frechet_distance(x, y) for k, x, y in parts) / len(kinds)

        a, b = (torch.cat([v[k] for k in kinds], 1) for v in (rows, reference.true))
        return resample(mean, a, b, reference.protocol.bootstrap, reference.protocol.seed)

    names = list(rows)
    with one_thread():
        return {"mean": of(names)} | ({k: of([k]) for k in names} if len(names) > 1 else {})


def paired(draws: dict[str, Resampled], models: list[str], clips: int) -> list[Pair]:
    """Every model's row against every other row, by their mean distances over so many clips; none without draws, nor
    with a row that is the real clips."""
    names = [k for k, v in draws.items() if v.value > NOTHING and len(v.each) > 1]
    pairs = [(a, b) for a in models for b in names if a in names and a != b]
    ratios = [paired_ratio(draws[a], draws[b]) for a, b in pairs]
    return [Pair(a, b, r.value, r.low, r.high, clips) for (a, b), r in zip(pairs, ratios, strict=True)]


def kernel(kind: str, rows: Rows, reference: Reference) -> float:
    """Kernel distance of rows that are pairs with the real ones; z-scored axes are of unit length together, and are
    stretched to unit length each, as in KID."""
    stretch = rows.shape[1] ** 0.5 if reference.nets[kind].dims else 1.0
    return reference.scale(kind) * kernel_distance(stretch * rows, stretch * reference.true[kind], pairs=True)


def _notes(reference: Reference, settings: EvaluateSettings) -> dict[str, Any]:
    """What a reader should know beside the hash."""
    return {
        "decoder": settings.decoder or "default",
        "lpips": None
        if reference.lpips is None or settings.weights is None
        else file_hash(settings.weights / LPIPS)[:16],
        "real_half_to_half": reference.half_to_half(),
        "halvings": HALVINGS,
        "kernel_pairs": "left out",
        "left_out": reference.real.left_out,
        "ids": [c.id for c in reference.real.clips],
        "run": of_run(pick_device(settings.device)),
        "note": f"distances from {len(reference.real.clips)} clips are biased upward; compare at this number only",
    }
