"""The paper's tables at sticker scale: same teacher, clips and decoder for every row, as many clips drawn by each.

    python runs/paper/paper_tables.py TABLE STORE MODEL WEIGHTS OUT [--seeds 3] [--clips 640 | --calls N]
        [--protocol loops-selection] [--motion M] [--at-once 2] [--rows ROW ...] [--start STUDENT]
        [--set FIELD=VALUE ...]

TABLE is 1 (SF-V to the letter, SF-V+, LADD, UFOGen, consistency, pairs, drifting, the teacher at 25 to 1 steps), 2
(heads: both, spatial, temporal), 3 (P_mean, P_std of what D sees), warm (the embedded student's adversary with other
heads, other P_mean, adapters on what D looks through, or without its parts; rows begin as STUDENT, a model folder),
upgrades (each change to SF-V by itself) or rates (every recipe of table 1 at two learning rates). --rows leaves others
out. MODEL is a folder with the teacher that every student starts from: of whole loops, or of clips (then the protocol
is sticker-selection). `--protocol loops-report` is for what is published. Each row is trained SEEDS times, AT_ONCE at a
time on one thread each, until it has drawn CLIPS clips (0: the preset's number) or made CALLS network calls, and
measured beside the still and the best sway and squash; OUT/table-N.json, .md and .svg hold the mean over seeds with the
smallest and the largest, each row's budget, and the first seed's ratios to every other row, paired over clips.
Interrupt and repeat at will.
"""

import argparse
import html
import json
import shutil
import statistics
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from tqdm import tqdm

from sfv.evaluation.evaluate import evaluate
from sfv.evaluation.settings import EvaluateSettings
from sfv.media import replacing
from sfv.system.memory import keep_memory
from sfv.training.config import (
    ClipTraining,
    ConsistencyTraining,
    DriftingTraining,
    PairTraining,
    Schedule,
    StudentTraining,
)
from sfv.training.presets import stages

Row = tuple[str, tuple[str, ...]]
"""A preset and its changes."""
SFV: Row = ("sfv-cpu", ())
PLUS = ("lr=6e-5", "head_start=60", "differences=false", "motion_most=255", "motion_floor=0.02")
"""SF-V+ as `sticker-cpu` has it after consistency distillation."""
RATES = (2e-5, 1e-4)
RECIPES = ("sfv", "sfv-plus", "ladd", "ufogen", "consistency", "pairs", "drifting")
TABLES: dict[str, dict[str, Row]] = {
    "1": {n: (f"{n}-cpu", ()) for n in RECIPES},
    "2": {"sfv": SFV, "spatial": ("sfv-cpu", ("heads=s",)), "temporal": ("sfv-cpu", ("heads=t",))},
    "3": {"sfv": SFV} | {f"p_mean{p:+d}": ("sfv-cpu", (f"p_mean={p}",)) for p in (-2, 0, 1)},
    "warm": {
        f"warm-{name}": ("sfv-plus-cpu", (*PLUS, *more))
        for name, more in {
            "both": (),
            "spatial": ("heads=s",),
            "temporal": ("heads=t",),
            "p_mean-2": ("p_mean=-2",),
            "p_mean+0": ("p_mean=0",),
            "p_mean+1": ("p_mean=1",),
            "clip": ("heads=stc",),
            "backbone": ("backbone_lora=8", "shared=false"),
            "no-adversary": ("adversarial=0",),
            "no-motion-floor": ("motion_floor=0",),
        }.items()
    },
    "upgrades": {"sfv": SFV}
    | {
        name: ("sfv-cpu", tuple(changes.split()))
        for name, changes in {
            "start-level": "level_weights=[0.05,0.1,0.85]",
            "huber-element": "huber=element",
            "clip-head": "heads=stc",
            "motion-floor": "motion_floor=0.05",
            "endpoint": "target=teacher reconstruction=3",
            "differences": "differences=true",
            "smoothness": "smoothness=1",
            "relativistic": "loss=relativistic",
            "feature-matching": "feature_matching=1",
            "backbone-lora": "backbone_lora=8 shared=false",
            "lora": "lora=32 lr=0.0002",
            "both-adapters": "lora=32 lr=0.0002 backbone_lora=8 shared=false",
            "calm-clips": "motion_most=140",
            "blend": "blend=0.75",
        }.items()
    },
    "rates": {
        f"{n}@{lr}": (f"{n}-cpu", ("lora=0",) * (n == "sfv-plus") + (f"lr={lr}",)) for n in RECIPES for lr in RATES
    }
    | {f"sfv-plus-adapters@{lr}": ("sfv-plus-cpu", (f"lr={lr}",)) for lr in (2e-4, 5e-4)},
}
"""Rows of one name are one run in every table."""
TEACHER = {"1": (25, 16, 8, 4, 1), "2": (25,), "3": (25,), "warm": (25,), "upgrades": (25,), "rates": (25, 1)}
FEW = (1, 2, 4, 8)
"""Calls at which a consistency model is sampled."""


def students(wanted: dict[str, Row], asked: argparse.Namespace) -> list[str]:
    """Train what is not trained yet; the rows to measure."""
    rows, todo = [], []
    for seed in range(asked.seeds):
        for name, (recipe, fields) in wanted.items():
            folder = asked.out / f"{name}-{seed}"
            changes = (*fields, *asked.set, f"seed={seed}", *steps_for(asked, recipe, (*fields, *asked.set)))
            share_latents(folder, asked.out / "shards", stages(recipe, "student", changes)[-1])
            if not (folder / "runs" / "student" / "done").exists():
                todo.append(partial(train, asked.store, asked.model, folder, recipe, changes, asked.motion))
            rows += [f"{folder}:{n}" for n in (FEW if recipe.startswith("consistency") else (1,))]
    if todo and not any((asked.out / "shards").glob("*/*")):
        todo.pop(0)()  # makes the latents that the others share
    with ThreadPoolExecutor(asked.at_once) as pool:
        list(tqdm(pool.map(lambda run: run(), todo), total=len(todo), desc=f"table {asked.table}", unit="student"))
    return rows


def steps_for(asked: argparse.Namespace, recipe: str, fields: tuple[str, ...]) -> tuple[str, ...]:
    """As many steps as draw so many clips, or make so many network calls; as the preset has them for 0 clips."""
    stage = stages(recipe, "student", fields)[-1]
    assert isinstance(stage, ClipTraining)
    if asked.calls:
        one, two = (budget(stage.model_copy(update={"steps": n}))["network_calls"] for n in (10**6, 2 * 10**6))
        once, each = 2 * one - two, (two - one) / 10**6  # pairs are made once
        if asked.calls <= once:
            raise SystemExit(f"--calls {asked.calls}: {recipe} needs {once} before its first update")
        return (f"steps={max(1, round((asked.calls - once) / each))}",)
    return (f"steps={max(1, round(stage.steps * asked.clips / stage.clips_drawn))}",) if asked.clips else ()


def budget(stage: Schedule) -> dict[str, int]:
    """What a row was given: updates of the generator, clips drawn, and network calls.

    A call is one pass of the whole network for one clip; a backward pass counts as two, the encoder alone as half.
    """
    assert isinstance(stage, ClipTraining)
    made = stage.steps * stage.accumulate * stage.clips  # clips that the generator learns from
    if isinstance(stage, StudentTraining):
        teacher = stage.target_steps * (1 + (stage.target_guidance > 1))
        asks = (stage.real == "teacher") + (stage.target == "teacher")
        each = 3 + 0.5 + 1.5 + asks * teacher  # generator, real, fake with the way back
        calls = made * (each + (stage.head_updates - stage.shared) * (2 + (stage.real == "teacher") * teacher))
        updates = max(0, stage.steps - stage.head_start)
    elif isinstance(stage, ConsistencyTraining):
        calls, updates = made * (2 + 1 + 3), stage.steps
    elif isinstance(stage, PairTraining):
        calls, updates = made * 3 + min(made, stage.pairs) * stage.pair_steps * (1 + (stage.guidance > 1)), stage.steps
    else:
        assert isinstance(stage, DriftingTraining)
        calls, updates = made * (stage.noises * (3 + 1.5) + 0.5), stage.steps
    return {"updates": updates, "clips": stage.clips_drawn, "network_calls": round(calls)}


def train(store: Path, model: Path, folder: Path, recipe: str, changes: tuple[str, ...], motion: float | None) -> None:
    """In a process of its own, on one thread; what it says goes into the folder's train.log."""
    what = ["student", str(store), str(folder), "--init", str(model), "--preset", recipe, "--threads", "1"]
    with (folder / "train.log").open("a") as log:
        command = [sys.executable, "-m", "sfv", "train", *what, "--set", *changes]
        if subprocess.run(command, stdout=log, stderr=log, check=False).returncode:
            raise SystemExit(f"{folder} was not trained; {folder / 'train.log'} says why")
    called_with(folder / "unet", motion)


def called_with(unet: Path, motion: float | None) -> None:
    """The same motion for every row, where one is asked for."""
    if motion is None:
        return
    known = json.loads((unet / "sfv.json").read_text())
    with replacing(unet / "sfv.json") as beside:
        beside.write_text(json.dumps(known | {"motion": motion}, indent=1) + "\n")


def teacher_alone(model: Path, out: Path, motion: float | None) -> Path:
    """MODEL with its teacher as the network that is called."""
    if not out.exists():
        shutil.copytree(model, out, ignore=shutil.ignore_patterns("unet", "runs"))
        (out / "teacher").rename(out / "unet")
        called_with(out / "unet", motion)
    return out


def share_latents(folder: Path, shared: Path, stage: Schedule) -> None:
    """Every recipe trains on the same encoded clips, which the first run makes."""
    pool = getattr(stage, "pool", 0)
    name = f"pool-{getattr(stage, 'programmed', 0.0):g}-{pool}" if pool else "shards"
    (shared / name).mkdir(parents=True, exist_ok=True)
    (folder / "runs").mkdir(parents=True, exist_ok=True)
    if not (folder / "runs" / name).exists():
        (folder / "runs" / name).symlink_to((shared / name).absolute())


def spread(values: list[float]) -> dict[str, float]:
    """Over seeds."""
    return {"mean": statistics.fmean(values), "low": min(values), "high": max(values)}


def summarise(rows: list[dict[str, Any]], budgets: dict[str, dict[str, int]]) -> dict[str, dict[str, Any]]:
    """Recipe and calls -> spread over seeds of every figure that decides, and the recipe's budget."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        name, colon, steps = row["name"].partition(":")
        groups.setdefault(f"{name.rpartition('-')[0]}:{steps}" if colon and "-" in name else row["name"], []).append(
            row
        )
    return {
        name: {"seeds": len(some)}
        | {k: spread([r["frechet"][k]["value"] for r in some]) for k in some[0]["frechet"]}
        | {k: spread([r[k] for r in some]) for k in ("motion_to_real", "motion_to_teacher", "sharpness")}
        | {k: spread([r[k] for r in some]) for k in ("latents_to_still",) if some[0].get(k) is not None}
        | budgets.get(name.partition(":")[0], {})
        for name, some in groups.items()
    }


def markdown(found: dict[str, dict[str, Any]]) -> str:
    """Mean over seeds, smallest to largest."""
    keys = list(dict.fromkeys(k for row in found.values() for k in row if k not in ("seeds", "ratios")))
    lines = ["| recipe:calls | seeds | " + " | ".join(keys) + " |", "|---" * (len(keys) + 2) + "|"]
    for name, row in found.items():
        lines.append(f"| {name} | {row['seeds']} | " + " | ".join(cell(row.get(k)) for k in keys) + " |")
    return "\n".join(lines)


def cell(value: dict[str, float] | int | None) -> str:
    """A spread, a count, or nothing."""
    if isinstance(value, dict):
        return f"{value['mean']:.3g} ({value['low']:.3g} - {value['high']:.3g})"
    return "-" if value is None else f"{value:,}"


def drawing(found: dict[str, dict[str, Any]]) -> str:
    """SVG: a bar for every row's mean distance and one for its motion, with the range over seeds as a line."""
    left, wide, high = 190, 300, 26
    parts = []
    for column, key in enumerate(("mean", "motion_to_teacher")):
        x0, top = left + column * (wide + 70), max(r[key]["high"] for r in found.values())
        title = ("distance to real clips (less is better)", "motion, share of the 25-step teacher's")[column]
        parts.append(f'<text x="{x0}" y="18" font-weight="600">{title}</text>')
        for i, row in enumerate(found.values()):
            y, v = 34 + i * high, row[key]
            low, end, mean = (x0 + v[k] / top * wide for k in ("low", "high", "mean"))
            parts.append(f'<rect x="{x0}" y="{y}" width="{mean - x0:.1f}" height="{high - 8}" fill="#9fc3dd"/>')
            parts.append(f'<path d="M{low:.1f} {y + 9}H{end:.1f}" stroke="#123" stroke-width="3"/>')
            parts.append(f'<text x="{end + 6:.1f}" y="{y + 14}">{v["mean"]:.3g}</text>')
    for i, name in enumerate(found):
        parts.append(f'<text x="{left - 8}" y="{48 + i * high}" text-anchor="end">{html.escape(name)}</text>')
    size = f'width="{left + 2 * (wide + 70)}" height="{44 + len(found) * high}"'
    style = '<style>text { font: 13px system-ui, sans-serif; }</style><rect width="100%" height="100%" fill="white"/>'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size}>{style}{"".join(parts)}</svg>'


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", choices=list(TABLES))
    for name in ("store", "model", "weights", "out"):
        parser.add_argument(name, type=Path)
    for name, usual in (("seeds", 3), ("clips", 640), ("at-once", 2)):
        parser.add_argument(f"--{name}", type=int, default=usual)
    parser.add_argument("--calls", type=int, default=0, help="network calls of every row, instead of clips")
    parser.add_argument("--protocol", default="loops-selection")
    parser.add_argument("--limit", type=int, default=0, help="clips to measure, to try it quickly")
    parser.add_argument("--motion", type=float)
    parser.add_argument("--rows", nargs="*", default=[])
    parser.add_argument("--start", type=Path, help="a model whose student every row begins as; it is a row too")
    parser.add_argument("--set", nargs="*", default=[], help="for every row, such as pool=8000 programmed=0.2")
    asked = parser.parse_args()
    keep_memory()
    table, wanted = asked.table, {k: v for k, v in TABLES[asked.table].items() if not asked.rows or k in asked.rows}
    if unknown := set(asked.rows) - wanted.keys():
        parser.error(f"--rows: table {table} has no {', '.join(sorted(unknown))}; it has {', '.join(TABLES[table])}")
    if asked.start:
        asked.set.append(f"start={asked.start.absolute()}")
    rows = students(wanted, asked)
    teacher = teacher_alone(asked.model, asked.out / "teacher", asked.motion)
    names = tuple(f"{teacher}:{n}" for n in TEACHER[table])
    how = EvaluateSettings(
        models=(*names, *([f"{asked.start}:1"] if asked.start else ()), *rows),
        weights=asked.weights,
        protocol=asked.protocol,
        limit=asked.limit,
        out=asked.out / "evaluation",
    )
    budgets = {}
    for name, (recipe, fields) in wanted.items():
        changes = (*fields, *asked.set)
        budgets[name] = budget(stages(recipe, "student", (*changes, *steps_for(asked, recipe, changes)))[-1])
    result = evaluate(asked.store, how).as_dict()
    found = summarise([r for r in result["rows"] if r["name"] != "real clips"], budgets)
    for name, row in found.items():
        first = name.replace(":", "-0:", 1) if name.partition(":")[0] in TABLES[table] else name
        row["ratios"] = {p["other"]: [p["ratio"], p["low"], p["high"]] for p in result["pairs"] if p["row"] == first}
    for kind, text in (("json", json.dumps(found, indent=1)), ("md", markdown(found)), ("svg", drawing(found))):
        with replacing(asked.out / f"table-{table}.{kind}") as beside:
            beside.write_text(text + "\n")
    print(markdown(found))


if __name__ == "__main__":
    main()
