"""How lively should a model of whole loops be if nobody asks? Chosen on clips that are not reported.

    python runs/quality/choose_motion.py STORE WEIGHTS OUT.json [--model sticker] [--steps N]
        [--levels 120 140 160 180 200] [--draws 3]

STORE is a clip store (`sfv pack`), WEIGHTS the feature networks. The model's default motion takes every one of LEVELS,
under the protocols "loops-selection", DRAWS times from other noise, and "loops-training", once: 167 families that it
was trained on, since the selection families are few and calmer than others. OUT holds for every level the distance (the
mean over draws, and each) and the motion as a share of real clips', and the best level: the one with the smallest sum
of both distances, each as a share of the smallest of its protocol. Interrupt and repeat at will: what OUT holds is not
measured again.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import sfv
from sfv.evaluation.candidates import condition, make, settings_of
from sfv.evaluation.extract import rows_of
from sfv.evaluation.reference import Reference, open_reference
from sfv.evaluation.settings import EvaluateSettings
from sfv.media import replacing
from sfv.system.memory import keep_memory
from sfv.training.batches import frame_difference
from sfv.types import Frames

Level = dict[str, Any]


def moves(clips: list[Frames]) -> float:
    """Mean change between neighbouring frames, in levels; `sfv evaluate` compares flow, clip by clip."""
    return sum(float(frame_difference(c.float().permute(0, 3, 1, 2))) for c in clips) / len(clips)


def measured(reference: Reference, model: sfv.VideoModel, steps: int | None, draws: int, what: str) -> Level:
    """A model at its default motion, from so many draws of noise."""
    protocol, clips = reference.protocol, reference.real.clips
    found, moving = [], 0.0
    for draw in range(draws):
        made = []
        for clip in clips:
            seed = protocol.seed_of(clip.id, draw)
            how = settings_of(model, protocol, steps, None).model_copy(update={"seed": seed})
            made.append(make(model, condition(clip, model, protocol), how, protocol).frames)
        rows, _ = rows_of(reference.nets, made.__getitem__, len(made), 1, f"{what}, draw {draw + 1}")
        found.append(reference.distances(rows))
        moving += moves(made) / draws
    return {
        "distance": {k: round(sum(d[k] for d in found) / draws, 1) for k in found[0]},
        "draws": [round(d["mean"], 1) for d in found],
        "motion_to_real": round(moving / moves([c.read() for c in clips]), 3),
    }


def best(found: dict[str, dict[str, Level]]) -> str:
    """The level with the smallest sum of its distances, each as a share of the smallest."""
    least = {name: min(v["distance"]["mean"] for v in levels.values()) for name, levels in found.items()}
    shared = set.intersection(*(set(levels) for levels in found.values()))
    return min(
        sorted(shared, key=float), key=lambda k: sum(found[name][k]["distance"]["mean"] / least[name] for name in found)
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("store", "weights", "out"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--model", default="sticker")
    parser.add_argument("--steps", type=int)
    parser.add_argument("--levels", type=float, nargs="+", default=[120, 140, 160, 180, 200])
    parser.add_argument("--draws", type=int, default=3)
    asked = parser.parse_args()
    keep_memory()
    model = sfv.load(asked.model)
    identity = {"model": model.name, "hash": model.hash, "steps": asked.steps, "draws": asked.draws}
    known = json.loads(asked.out.read_text()) if asked.out.exists() else identity | {"levels": {}}

    def keep() -> None:
        with replacing(asked.out) as beside:
            beside.write_text(json.dumps(known, indent=1) + "\n")

    if {k: known.get(k) for k in identity} != identity:
        raise SystemExit(f"{asked.out} is of another model, steps or draws; move it away")
    for name, draws in (("loops-selection", asked.draws), ("loops-training", 1)):
        reference = open_reference(asked.store, EvaluateSettings(protocol=name, weights=asked.weights, workers=1))
        levels: dict[str, Level] = known["levels"].setdefault(name, {})
        for level in (k for k in asked.levels if f"{k:g}" not in levels):
            lively = replace(model, defaults=model.defaults.model_copy(update={"motion": level}))
            levels[f"{level:g}"] = measured(reference, lively, asked.steps, draws, f"{name}, {level:g}")
            keep()
    known["best"] = best(known["levels"])
    keep()
    for name, levels in known["levels"].items():
        print(name, {k: (v["distance"]["mean"], v["motion_to_real"]) for k, v in levels.items()})
    print("best", known["best"])


if __name__ == "__main__":
    main()
