"""Are the published figures of things that the model knows by another name? Near-twins of measured clips among training
clips, and the figures without them.

    python runs/quality/twins.py STORE WEIGHTS OUT.json [--models sticker:1 sticker-teacher:25] [--takes 3]

Families are split by what a picture shows, so a yellow heart may be measured while a brown one was learnt. Every
measured clip's outline (alpha of 12 evenly spread frames, 64 x 64) is compared with those of all training clips, as
they are and mirrored, as training mirrors its clips; from TWIN decibels on it is a twin (twins stand at 33 and more,
the next below 27). Then the paired ratios of the first model's distance to every other row's, with 95 % intervals, of
all clips and of those without twins, and how often as many clips dropped by chance would have moved the ratio as far.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import avg_pool2d

from sfv.data.stickers import Clip, ClipStore
from sfv.evaluation.baselines import MOVED
from sfv.evaluation.candidates import subject
from sfv.evaluation.evaluate import resampled
from sfv.evaluation.extract import rows_of
from sfv.evaluation.real_clips import evenly_around
from sfv.evaluation.reference import Reference, open_reference
from sfv.evaluation.settings import EvaluateSettings
from sfv.measures.distances import Rows, averaged, frechet_distance, paired_ratio
from sfv.system.files import replacing

FRAMES = 12
TWIN = 30.0
"""Decibels of one outline against another, over a whole round."""
CHANCES = 200
"""Random droppings of as many clips."""
Outline = Float[Tensor, "f 64 64"]
Takes = list[dict[str, Rows]]


def outline(store: ClipStore, clip: Clip) -> Outline:
    """Opacity over a round, in [0, 1]."""
    rgba = torch.cat([store.rgba(clip, i, 1, 1) for i in evenly_around(clip.count, FRAMES)])
    return avg_pool2d(rgba[:, 3:], rgba.shape[-1] // 64)[:, 0]


def decibels(error: Tensor) -> Tensor:
    return -10 * torch.log10(error.clamp_min(1e-9))


def nearest(mine: Outline, training: Float[Tensor, "n f 64 64"], clips: list[Clip]) -> dict[str, Any]:
    """The training clip whose outline is nearest, as it is or mirrored."""
    found = []
    for mirrored in (False, True):
        near = decibels((training - (mine.flip(-1) if mirrored else mine)).square().mean((1, 2, 3)))
        at = int(near.argmax())
        found.append((float(near[at]), clips[at].name, mirrored))
    best = max(found)
    return {"db": round(best[0], 1), "training": best[1], "mirrored": best[2]}


def neighbours(store: ClipStore, reference: Reference) -> dict[str, dict[str, Any]]:
    """Of every measured clip."""
    known = {c.id: c for c in store.split("val")}
    clips = list(store.split("train"))
    training = torch.stack([outline(store, c) for c in clips])
    return {
        clip.id: {"name": clip.name} | nearest(outline(store, known[clip.id]), training, clips)
        for clip in reference.real.clips
    }


def rows_by_name(reference: Reference, models: list[str], kept: Path, what: EvaluateSettings) -> dict[str, Takes]:
    """Feature rows on the protocol's axes, take by take: of models, then of the moved baselines."""
    real, protocol = reference.real, reference.protocol

    def measured(read: Any, title: str) -> dict[str, Rows]:
        found, _ = rows_of(reference.nets, read, len(real.clips), 1, title)
        return {k: reference.axes[k](v) for k, v in found.items()}

    found: dict[str, Takes] = {}
    for model in models:
        one = subject(model, real, protocol, kept, None, what.device, None, what.profile)
        found[one.name] = [measured(take.read, one.name) for take in one.takes]
    for name, moved in MOVED.items():
        found[name] = [
            measured(lambda i, m=moved: m(real.clips[i].read()[0], protocol, protocol.way(real.clips[i].id)), name)
        ]
    return found


def without(reference: Reference, keep: Tensor) -> Reference:
    """The same of some of its clips."""
    return replace(reference, true={k: v[keep] for k, v in reference.true.items()})


def distance(takes: Takes, reference: Reference, keep: Tensor) -> float:
    """Mean over takes and networks."""
    each = [
        reference.scale(k) * frechet_distance(rows[k][keep], reference.true[k][keep]) for rows in takes for k in rows
    ]
    return sum(each) / len(each)


def ratios(found: dict[str, Takes], reference: Reference, keep: Tensor) -> dict[str, dict[str, float]]:
    """Of the first row to every other."""
    some = without(reference, keep)
    drawn = {
        name: averaged([resampled({k: v[keep] for k, v in rows.items()}, some)["mean"] for rows in takes])
        for name, takes in found.items()
    }
    first, *others = drawn
    pairs = {other: paired_ratio(drawn[first], drawn[other]) for other in others}
    return {k: {"ratio": round(v.value, 3), "low": round(v.low, 3), "high": round(v.high, 3)} for k, v in pairs.items()}


def by_chance(found: dict[str, Takes], reference: Reference, dropped: int) -> dict[str, list[float]]:
    """The ratios when as many clips are dropped at random, sorted."""
    count, draw = len(reference.real.clips), torch.Generator().manual_seed(0)
    first, *others = found
    every: dict[str, list[float]] = {other: [] for other in others}
    for _ in range(CHANCES):
        keep = torch.randperm(count, generator=draw)[dropped:].sort().values
        least = distance(found[first], reference, keep)
        for other in others:
            every[other].append(least / distance(found[other], reference, keep))
    return {k: sorted(v) for k, v in every.items()}


def of_protocol(name: str, asked: argparse.Namespace) -> dict[str, Any]:
    what = EvaluateSettings(protocol=name, weights=asked.weights, workers=1, takes=asked.takes, out=asked.kept)
    reference = open_reference(asked.store, what)
    near = neighbours(ClipStore(asked.store), reference)
    twins = [k for k, v in near.items() if v["db"] >= TWIN]
    ids = [c.id for c in reference.real.clips]
    every = torch.arange(len(ids))
    keep = torch.tensor([i for i in every.tolist() if ids[i] not in twins])
    found = rows_by_name(reference, asked.models, asked.kept / "clips", what)
    all_clips, fewer = ratios(found, reference, every), ratios(found, reference, keep)
    chance = by_chance(found, reference, len(twins))
    as_far = {k: sum(v >= fewer[k]["ratio"] for v in chance[k]) / CHANCES for k in fewer}
    return {
        "protocol": reference.identity(),
        "clips": len(ids),
        "twins": {k: near[k] for k in twins},
        "next": sorted((v["db"] for k, v in near.items() if k not in twins), reverse=True)[:5],
        "of all": all_clips,
        "without twins": fewer,
        "as many dropped by chance": {k: [v[5], v[100], v[194]] for k, v in chance.items()},
        "share of chance as high": as_far,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("store", "weights", "out"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--models", nargs="+", default=["sticker:1", "sticker-teacher:25"])
    parser.add_argument("--protocols", nargs="+", default=["loops-report", "loops-selection"])
    parser.add_argument("--takes", type=int, default=3)
    parser.add_argument("--kept", type=Path, default=Path("out/twins"), help="clips made are kept here")
    asked = parser.parse_args()
    known: dict[str, Any] = json.loads(asked.out.read_text()) if asked.out.exists() else {}
    for name in asked.protocols:
        known[name] = of_protocol(name, asked)
        with replacing(asked.out) as beside:
            beside.write_text(json.dumps(known, indent=1) + "\n")
        for key in ("twins", "next", "of all", "without twins", "share of chance as high"):
            print(name, key, known[name][key])


if __name__ == "__main__":
    main()
