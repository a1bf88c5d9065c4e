"""The paper's tables at sticker scale: same teacher, clips, batch and budget for every row.

    python runs/paper/paper_tables.py TABLE STORE MODEL WEIGHTS OUT [SEEDS] [UPDATES] [AT_ONCE]

TABLE is 1 (SF-V, SF-V+, LADD, UFOGen, consistency, the teacher at 25 to 1 steps), 2 (heads: both, spatial, temporal),
3 (P_mean, P_std of what D sees), upgrades (each change to SF-V by itself) or rates (every recipe of table 1 at two
learning rates). MODEL is a folder with the teacher that
every student starts from (`src/sfv/weights/sticker` is the shipped one). Each row is trained SEEDS times (default 3),
AT_ONCE (default 2) at a time on one thread each, and measured by the protocol "sticker"; OUT/table-N.json, .md
and .svg hold the mean over seeds with the smallest and the largest. Interrupt and repeat at will.
"""

import html
import json
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

Row = tuple[str, tuple[str, ...]]
"""A preset and its changes."""
SFV: Row = ("sfv-cpu", ())
RATES = (2e-5, 1e-4)
RECIPES = ("sfv", "sfv-plus", "ladd", "ufogen", "consistency")
TABLES: dict[str, dict[str, Row]] = {
    "1": {n: (f"{n}-cpu", ()) for n in RECIPES},
    "2": {"sfv": SFV, "spatial": ("sfv-cpu", ("heads=s",)), "temporal": ("sfv-cpu", ("heads=t",))},
    "3": {"sfv": SFV} | {f"p_mean{p:+d}": ("sfv-cpu", (f"p_mean={p}",)) for p in (-2, 0, 1)},
    "upgrades": {"sfv": SFV}
    | {
        name: ("sfv-cpu", tuple(changes.split()))
        for name, changes in {
            "start-level": "level_weights=[0.05,0.1,0.85]",
            "condition-noise": "condition_growth=1.5",
            "endpoint": "target=teacher reconstruction=3",
            "differences": "differences=true",
            "smoothness": "smoothness=1",
            "relativistic": "loss=relativistic",
            "feature-matching": "feature_matching=1",
            "backbone-lora": "backbone_lora=8 shared=false",
            "lora": "lora=32 lr=0.0002",
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
TEACHER = {"1": (25, 16, 8, 4, 1), "2": (25,), "3": (25,), "upgrades": (25,), "rates": (25, 1)}
FEW = (1, 2, 4, 8)
"""Calls at which a consistency model is sampled."""


def students(table: str, store: Path, model: Path, out: Path, seeds: int, updates: int, at_once: int) -> list[str]:
    """Train what is not trained yet; the rows to measure."""
    rows, todo = [], []
    for seed in range(seeds):
        for name, (recipe, fields) in TABLES[table].items():
            folder = out / f"{name}-{seed}"
            changes = (*fields, f"seed={seed}", *([f"steps={updates}"] if updates else []))
            share_latents(folder, out / "shards")
            if not (folder / "runs" / "student" / "done").exists():
                todo.append(partial(train, store, model, folder, recipe, changes))
            rows += [f"{folder}:{n}" for n in (FEW if recipe.startswith("consistency") else (1,))]
    if todo and not (out / "shards" / "index.json").exists():
        todo.pop(0)()  # makes the latents that the others share
    with ThreadPoolExecutor(at_once) as pool:
        list(tqdm(pool.map(lambda run: run(), todo), total=len(todo), desc=f"table {table}", unit="student"))
    return rows


def train(store: Path, model: Path, folder: Path, recipe: str, changes: tuple[str, ...]) -> None:
    """In a process of its own, on one thread; what it says goes into the folder's train.log."""
    what = ["student", str(store), str(folder), "--init", str(model), "--preset", recipe, "--threads", "1"]
    with (folder / "train.log").open("a") as log:
        command = [sys.executable, "-m", "sfv", "train", *what, "--set", *changes]
        if subprocess.run(command, stdout=log, stderr=log, check=False).returncode:
            raise SystemExit(f"{folder} was not trained; {folder / 'train.log'} says why")


def share_latents(folder: Path, shards: Path) -> None:
    """Every recipe trains on the same encoded clips, which the first run makes."""
    shards.mkdir(parents=True, exist_ok=True)
    (folder / "runs").mkdir(parents=True, exist_ok=True)
    if not (folder / "runs" / "shards").exists():
        (folder / "runs" / "shards").symlink_to(shards.absolute())


def spread(values: list[float]) -> dict[str, float]:
    """Over seeds."""
    return {"mean": statistics.fmean(values), "low": min(values), "high": max(values)}


def summarise(rows: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Recipe and calls -> spread over seeds of every figure that decides."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        name, _, steps = row["name"].partition(":")
        groups.setdefault(f"{name.rpartition('-')[0] or name}:{steps}", []).append(row)
    return {
        name: {"seeds": len(some)}
        | {k: spread([r["frechet"][k]["value"] for r in some]) for k in some[0]["frechet"]}
        | {k: spread([r[k] for r in some]) for k in ("motion_to_real", "motion_to_teacher", "sharpness")}
        for name, some in groups.items()
        if ":" in name and not name.startswith(":")
    }


def markdown(found: dict[str, dict[str, Any]]) -> str:
    """Mean over seeds, smallest to largest."""
    keys = [k for k in next(iter(found.values())) if k != "seeds"]
    lines = ["| recipe:calls | seeds | " + " | ".join(keys) + " |", "|---" * (len(keys) + 2) + "|"]
    for name, row in found.items():
        cells = [f"{row[k]['mean']:.3g} ({row[k]['low']:.3g} - {row[k]['high']:.3g})" for k in keys]
        lines.append(f"| {name} | {row['seeds']} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


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


def main(table: str, store: Path, model: Path, weights: Path, out: Path, *numbers: int) -> None:
    keep_memory()
    seeds, updates, at_once = (*numbers, *(3, 0, 2)[len(numbers) :])
    rows = students(table, store, model, out, seeds, updates, at_once)
    teacher = tuple(f"sticker-teacher:{n}" for n in TEACHER[table])
    how = EvaluateSettings(models=(*teacher, *rows), weights=weights, out=out / "evaluation")
    found = summarise([r for r in evaluate(store, how).as_dict()["rows"] if ":" in r["name"]])
    for kind, text in (("json", json.dumps(found, indent=1)), ("md", markdown(found)), ("svg", drawing(found))):
        with replacing(out / f"table-{table}.{kind}") as beside:
            beside.write_text(text + "\n")
    print(markdown(found))


if __name__ == "__main__":
    store_, model_, weights_, out_ = map(Path, sys.argv[2:6])
    main(sys.argv[1], store_, model_, weights_, out_, *map(int, sys.argv[6:]))
