"""Picture on disk -> clip on disk, model against model, interleaved in one warm process."""

import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from sfv.batch import animate_file
from sfv.errors import SfvError
from sfv.families import load, pick_device
from sfv.families.base import VideoModel
from sfv.media import read_picture, replacing
from sfv.settings import Settings

STAGES = ("read", "encode", "unet", "decode", "write", "total")


def bench(
    image: Path, models: Sequence[str], settings: Settings, rounds: int, out: Path | None = None, device: str = "auto"
) -> str:
    """Time `rounds` clips of each model after one to warm up; returns the markdown table, writes JSON to `out`.

    The first model is the subject: "times" is the median over rounds of another model's seconds over the subject's
    in the same round.
    """
    if rounds < 1:
        raise SfvError(f"{rounds} rounds measure nothing; use at least 1")
    read_picture(image)
    loaded = [load(name, pick_device(device)) for name in models]
    with tempfile.TemporaryDirectory() as folder:
        for model in loaded:
            _one(model, image, settings, Path(folder))
        bar = tqdm(loaded * rounds, desc="bench", unit="clip")
        taken = [_one(model, image, settings, Path(folder)) for model in bar]
    result = {
        "machine": machine(loaded[0]),
        "rounds": rounds,
        "models": summaries([(m.name, m.hash) for m in loaded], taken),
    }
    if out:
        with replacing(out) as beside:
            beside.write_text(json.dumps(result, indent=1) + "\n")
    return markdown(result)


def _one(model: VideoModel, image: Path, settings: Settings, folder: Path) -> dict[str, float]:
    """Seconds of every stage and of the whole as `sfv generate` does it, and the number of network calls."""
    start = time.perf_counter()
    report = animate_file(model, image, settings, folder / "clip.mp4")
    total = time.perf_counter() - start
    return {**report["seconds"], "total": total, "calls": report["calls"]}


def summaries(models: Sequence[tuple[str, str]], taken: list[dict[str, float]]) -> list[dict[str, Any]]:
    """Of models (name, hash), whose clips `taken` holds in turn, round after round."""
    runs = [taken[i :: len(models)] for i in range(len(models))]
    return [
        {
            "model": name,
            "hash": digest,
            "calls": int(mine[0]["calls"]),
            "median": {k: statistics.median(t[k] for t in mine) for k in STAGES},
            "p95": {k: _p95([t[k] for t in mine]) for k in STAGES},
            "times": {
                k: statistics.median(a[k] / b[k] for a, b in zip(mine, runs[0], strict=True)) for k in ("unet", "total")
            },
        }
        for (name, digest), mine in zip(models, runs, strict=True)
    ]


def _p95(values: list[float]) -> float:
    """The smallest value that 95 % do not exceed."""
    return sorted(values)[max(0, -(-95 * len(values) // 100) - 1)]


def machine(model: VideoModel) -> dict[str, Any]:
    """What the seconds depend on."""
    gpu = torch.cuda.get_device_name(model.device) if model.device.type == "cuda" else None
    return {
        "device": gpu or _processor(),
        "threads": torch.get_num_threads(),
        "cores": os.cpu_count(),
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


def _processor() -> str:
    """The processor's name where Linux tells it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def markdown(result: dict[str, Any]) -> str:
    """One line per model: median seconds of every stage, and how many times the subject's."""
    head = ["model", "calls", *STAGES, "p95", "UNet x", "total x"]
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for m in result["models"]:
        seconds = [f"{m['median'][k]:.3f}" for k in STAGES]
        ratios = [f"{m['times'][k]:.1f}" for k in ("unet", "total")]
        lines.append(
            "| " + " | ".join([m["model"], str(m["calls"]), *seconds, f"{m['p95']['total']:.3f}", *ratios]) + " |"
        )
    return "\n".join(lines)
