"""Picture on disk -> clip on disk, model against model, interleaved in one warm process."""

import hashlib
import json
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode
from tqdm import tqdm

from sfv.bench.report import compared, drawing, markdown, read_bench
from sfv.bench.systems import STAGES, Contestant, contestant
from sfv.errors import SfvError
from sfv.media import read_picture, replacing
from sfv.settings import Settings, Speed
from sfv.system.files import make_folder, not_in_the_way
from sfv.system.machine import machine
from sfv.system.memory import peak_resident, reset_peak


def bench(
    image: Path,
    models: Sequence[str],
    settings: Settings,
    rounds: int,
    out: Path | None = None,
    device: str = "auto",
    against: Path | None = None,
    speed: Speed | None = None,
) -> str:
    """Time `rounds` clips of each model after one to warm up; returns the markdown table, writes JSON to `out`, and
    a picture beside it.

    The first model is the subject: "times" is the median over rounds of another model's seconds over the subject's
    in the same round. `against` is an earlier JSON of the same picture and settings.
    """
    if out:
        not_in_the_way(out, {"asked", "machine"}, [out.with_suffix(".svg")])
        make_folder(out.parent)  # now: what is measured must not be lost at the end
    if rounds < 1:
        raise SfvError(f"{rounds} rounds measure nothing; use at least 1")
    asked = {"picture": hashlib.sha256(read_picture(image).numpy().tobytes()).hexdigest()[:16]}
    asked["settings"] = settings.model_dump_json(exclude_defaults=True)
    if settings.fit is None and settings.size is None:
        settings = settings.model_copy(update={"fit": "pad"})  # every system draws the model's own frame
    earlier = read_bench(against, asked) if against else None
    with tempfile.TemporaryDirectory() as folder:
        opened = [_cold(row, image, settings, Path(folder), device, speed) for row in models]
        loaded = [m for m, _ in opened]
        every = tqdm(loaded * rounds, desc="bench", unit="clip")
        taken = [with_other(m.once(image, settings, Path(folder))) for m in every]
        rows = summaries([(m.name, m.hash) for m in loaded], taken)
        for row, (one, cold) in zip(rows, opened, strict=True):
            row |= {"cold": cold, **memory(one, image, settings, Path(folder))}
            row |= {"flops": flops(one, image, settings, Path(folder)), **one.asked(settings)}
    result = {"machine": machine(loaded[0].device), "asked": asked, "rounds": rounds, "models": rows}
    if out:
        write(result, out)
    return markdown(result) + ("\n\n" + compared(result, earlier) if earlier else "")


def write(result: dict[str, Any], out: Path) -> None:
    """JSON to `out`, the picture beside it as .svg."""
    for path, text in ((out, json.dumps(result, indent=1)), (out.with_suffix(".svg"), drawing(result))):
        with replacing(path) as beside:
            beside.write_text(text + "\n")


def with_other(taken: dict[str, float]) -> dict[str, float]:
    """The total's rest: what lies between the stages."""
    return taken | {"other": taken["total"] - sum(taken.get(k, 0.0) for k in STAGES if k not in ("other", "total"))}


def _cold(
    row: str, image: Path, settings: Settings, folder: Path, device: str, speed: Speed | None
) -> tuple[Contestant, dict[str, float]]:
    """Open a model and make its first clip: seconds that a command pays once (files may be in the disk's cache)."""
    start = time.perf_counter()
    one = contestant(row, device, speed)
    opened = time.perf_counter()
    one.once(image, settings, folder)
    return one, {"load": opened - start, "first": time.perf_counter() - opened}


def memory(one: Contestant, image: Path, settings: Settings, folder: Path) -> dict[str, float | None]:
    """Peak megabytes while one clip is made: of the process (all models benched are loaded), and on the GPU."""
    cuda = one.device.type == "cuda"
    known = reset_peak()
    if cuda:
        torch.cuda.reset_peak_memory_stats(one.device)
    one.once(image, settings, folder)
    peak = peak_resident() if known else None
    return {
        "peak_rss_mb": None if peak is None else round(peak / 1e6),
        "peak_cuda_mb": round(torch.cuda.max_memory_allocated(one.device) / 1e6) if cuda else None,
    }


def flops(one: Contestant, image: Path, settings: Settings, folder: Path) -> int:
    """Floating-point operations of matrix products and convolutions for one clip, all stages, counted while it runs."""
    with FlopCounterMode(display=False) as counter:
        one.once(image, settings, folder)
    return int(counter.get_total_flops())


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
