"""`sfv optimize`: every backend tried in a process of its own, twice, since the second start is the one users meet."""

import json
import statistics
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import torch
from tqdm import tqdm

from sfv.errors import SfvError
from sfv.families.base import VideoModel
from sfv.families.load import load
from sfv.generation.generate import generate
from sfv.speed.backends import BACKENDS, refusal
from sfv.speed.optimize import optimize
from sfv.speed.record import MANY, Record, choose, keep_record
from sfv.system.device import pick_device
from sfv.system.memory import keep_memory

STAGES = ("unet", "decode")
LIMIT = 1800
"""Seconds that one backend may take to start."""


def prepare(name: str, profile: str, backends: Sequence[str] = BACKENDS, rounds: int = 7, device: str = "auto") -> str:
    """Time every backend that can be used here, keep what was found, and tell it; slow starts are cached by the way.

    Eager is always among them. Raises SfvError for an unknown backend.
    """
    if unknown := sorted(set(backends) - set(BACKENDS)):
        raise SfvError(f"backend {unknown[0]!r} is none of {', '.join(BACKENDS)}")
    model = load(name, pick_device(device))
    tried = list(dict.fromkeys(("eager", *backends)))
    refused = {b: why for b in tried if (why := refusal(b, model.device))}
    record: Record = {stage: {} for stage in STAGES}
    with tqdm(total=2 * (len(tried) - len(refused)), desc="optimize", unit="start") as bar:
        for backend in (b for b in tried if b not in refused):
            asked = [name, profile, backend, str(rounds), str(model.device)]
            found = [_child(asked, bar) for _ in range(2)]
            if failed := next((f["error"] for f in found if "error" in f), ""):
                refused[backend] = failed
                continue
            for stage in STAGES:
                cold, warm = (f[stage] for f in found)
                start = {"start": warm["first"] - warm["call"], "cold": cold["first"] - cold["call"]}
                record[stage][backend] = start | {"call": warm["call"]}
    path = keep_record(model, profile, record)
    return f"{_table(record, refused)}\n\n{_chosen(model, profile)}\n{path}"


def _child(asked: list[str], bar: Any) -> dict[str, Any]:
    """One process; its last line is JSON."""
    command = [sys.executable, "-m", "sfv.speed", *asked]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=LIMIT)
    except subprocess.TimeoutExpired:
        return {"error": f"took longer than {LIMIT} s"}
    finally:
        bar.update()
    if done.returncode:
        said = done.stderr.strip().splitlines()
        return {"error": said[-1] if said else f"ended with {done.returncode}"}
    return dict(json.loads(done.stdout.strip().splitlines()[-1]))


def timed(name: str, profile: str, backend: str, rounds: int, device: str) -> dict[str, dict[str, float]]:
    """Seconds of each stage: the first clip's, and the median of those after it."""
    keep_memory()
    model = optimize(load(name, pick_device(device)), profile, backend)
    picture = torch.randint(0, 256, (model.defaults.height, model.defaults.width, 3), dtype=torch.uint8)
    first = generate(model, picture, steps=1).seconds
    later = [generate(model, picture, steps=1, seed=i).seconds for i in range(rounds)]
    return {s: {"first": first[s], "call": statistics.median(t[s] for t in later)} for s in STAGES}


def _table(record: Record, refused: dict[str, str]) -> str:
    """A line for every stage and backend, and why others are missing."""
    lines = ["| stage | backend | ms | start s | first start s |", "|---|---|---|---|---|"]
    for stage, by in record.items():
        for backend, t in by.items():
            lines.append(f"| {stage} | {backend} | {1e3 * t['call']:.1f} | {t['start']:.1f} | {t['cold']:.1f} |")
    return "\n".join(lines + [f"{b}: {why}" for b, why in refused.items()])


def _chosen(model: VideoModel, profile: str) -> str:
    return "\n".join(choose(model, profile, n)[1] for n in (1, MANY))
