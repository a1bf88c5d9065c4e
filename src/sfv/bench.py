"""Picture on disk -> clip on disk, model against model, interleaved in one warm process."""

import hashlib
import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode
from tqdm import tqdm

from sfv.batch import animate_file
from sfv.errors import SfvError
from sfv.families import load, pick_device
from sfv.families.base import VideoModel
from sfv.generation import generate, wait
from sfv.media import read_picture, replacing
from sfv.memory import peak_resident, reset_peak
from sfv.settings import Settings

STAGES = ("read", "encode", "picture", "unet", "decode", "write", "total")
"""picture is the image encoder, encode the rest of conditioning (the codec's encoder)."""


def bench(
    image: Path,
    models: Sequence[str],
    settings: Settings,
    rounds: int,
    out: Path | None = None,
    device: str = "auto",
    against: Path | None = None,
) -> str:
    """Time `rounds` clips of each model after one to warm up; returns the markdown table, writes JSON to `out`.

    The first model is the subject: "times" is the median over rounds of another model's seconds over the subject's
    in the same round. `against` is an earlier JSON of the same picture and settings.
    """
    if rounds < 1:
        raise SfvError(f"{rounds} rounds measure nothing; use at least 1")
    asked = {"picture": hashlib.sha256(read_picture(image).numpy().tobytes()).hexdigest()[:16]}
    asked["settings"] = settings.model_dump_json(exclude_defaults=True)
    earlier = read_bench(against, asked) if against else None
    with tempfile.TemporaryDirectory() as folder:
        opened = [_cold(name, image, settings, Path(folder), device) for name in models]
        loaded = [m for m, _ in opened]
        taken = [_one(m, image, settings, Path(folder)) for m in tqdm(loaded * rounds, desc="bench", unit="clip")]
        rows = summaries([(m.name, m.hash) for m in loaded], taken)
        for row, (model, cold) in zip(rows, opened, strict=True):
            row |= {
                "cold": cold,
                **memory(model, image, settings, Path(folder)),
                "flops": flops(model, image, settings),
            }
    result = {"machine": machine(loaded[0]), "asked": asked, "rounds": rounds, "models": rows}
    if out:
        with replacing(out) as beside:
            beside.write_text(json.dumps(result, indent=1) + "\n")
    return markdown(result) + ("\n\n" + compared(result, earlier) if earlier else "")


def _cold(name: str, image: Path, settings: Settings, folder: Path, device: str) -> tuple[VideoModel, dict[str, float]]:
    """Open a model and make its first clip: seconds that a command pays once (files may be in the disk's cache)."""
    start = time.perf_counter()
    model = load(name, pick_device(device))
    opened = time.perf_counter()
    _one(model, image, settings, folder)
    return model, {"load": opened - start, "first": time.perf_counter() - opened}


def _one(model: VideoModel, image: Path, settings: Settings, folder: Path) -> dict[str, float]:
    """Seconds of every stage and of the whole as `sfv generate` does it, and the number of network calls."""
    start = time.perf_counter()
    with _picture_clock(model) as spent:
        report = animate_file(model, image, settings, folder / ("clip.webp" if settings.transparent else "clip.mp4"))
    total = time.perf_counter() - start
    seconds = report["seconds"] | {"picture": spent[0], "encode": report["seconds"]["encode"] - spent[0]}
    return {**seconds, "total": total, "calls": report["calls"]}


@contextmanager
def _picture_clock(model: VideoModel) -> Iterator[list[float]]:
    """Seconds inside the image encoder, in a list of one; waits for the device on both sides."""
    tower, spent, began = model.conditioner.picture_tower(), [0.0], [0.0]

    def before(*_: Any) -> None:
        wait(model)
        began[0] = time.perf_counter()

    def after(*_: Any) -> None:
        wait(model)
        spent[0] += time.perf_counter() - began[0]

    hooks = [tower.register_forward_pre_hook(before), tower.register_forward_hook(after)]
    try:
        yield spent
    finally:
        for hook in hooks:
            hook.remove()


def memory(model: VideoModel, image: Path, settings: Settings, folder: Path) -> dict[str, float | None]:
    """Peak megabytes while one clip is made: of the process (all models benched are loaded), and on the GPU."""
    cuda = model.device.type == "cuda"
    known = reset_peak()
    if cuda:
        torch.cuda.reset_peak_memory_stats(model.device)
    _one(model, image, settings, folder)
    peak = peak_resident() if known else None
    return {
        "peak_rss_mb": None if peak is None else round(peak / 1e6),
        "peak_cuda_mb": round(torch.cuda.max_memory_allocated(model.device) / 1e6) if cuda else None,
    }


def flops(model: VideoModel, image: Path, settings: Settings) -> int:
    """Floating-point operations of matrix products and convolutions for one clip, all stages, counted while it runs."""
    with FlopCounterMode(display=False) as counter:
        generate(model, read_picture(image, settings.background), settings)
    return int(counter.get_total_flops())


def read_bench(path: Path, asked: dict[str, str]) -> dict[str, Any]:
    """An earlier result; SfvError if it is none, or of another picture or other settings."""
    try:
        found = dict(json.loads(path.read_text()))
        before, _ = found["asked"], found["models"][0]["median"]["total"]
    except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
        raise SfvError(f"{path} is not a result of `sfv bench` ({error!r}); name its JSON file") from error
    for key, mine in asked.items():
        if before.get(key) != mine:
            raise SfvError(f"{path} was timed with another {key} ({before.get(key)}, here {mine}); time both alike")
    return found


def compared(result: dict[str, Any], earlier: dict[str, Any]) -> str:
    """A line for every model that both results have; seconds of another machine are not compared, ratios are."""
    before = {m["model"]: m for m in earlier["models"]}
    alike = result["machine"] == earlier["machine"]
    lines = ["Against the earlier result:" if alike else "Against the earlier result, from another machine:"]
    for m in result["models"]:
        if m["model"] in before:
            then = before[m["model"]]
            stages = ", ".join(f"{k} {then['median'][k]:.3f} -> {m['median'][k]:.3f}" for k in STAGES)
            ratios = f"total {then['times']['total']:.1f}x -> {m['times']['total']:.1f}x of the first model"
            lines.append(f"- {m['model']}: {f'{stages} s; ' if alike else ''}{ratios}")
    return "\n".join(lines)


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
    head = ["model", "calls", *STAGES, "p95", "cold", "MB", "GFLOP", "UNet x", "total x"]
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for m in result["models"]:
        seconds = [f"{m['median'][k]:.3f}" for k in STAGES]
        ratios = [f"{m['times'][k]:.1f}" for k in ("unet", "total")]
        once = f"{m['cold']['load'] + m['cold']['first']:.2f}"
        held = str(m["peak_cuda_mb"] or m["peak_rss_mb"] or "-")
        cells = [m["model"], str(m["calls"]), *seconds, f"{m['p95']['total']:.3f}", once, held]
        lines.append("| " + " | ".join([*cells, f"{m['flops'] / 1e9:.0f}", *ratios]) + " |")
    return "\n".join(lines)
