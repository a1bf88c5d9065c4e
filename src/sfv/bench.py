"""Picture on disk -> clip on disk, model against model, interleaved in one warm process."""

import hashlib
import json
import os
import platform
import statistics
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode
from tqdm import tqdm

from sfv.batch import animate_file
from sfv.errors import SfvError
from sfv.families import load, load_stock, pick_device
from sfv.families.clocks import clocked
from sfv.media import fit, read_picture, replacing, write_clip
from sfv.memory import peak_resident, reset_peak
from sfv.settings import Defaults, Settings, split_row

STAGES = ("read", "encode", "picture", "unet", "decode", "write", "other", "total")
"""picture is the image encoder, encode the rest of conditioning (the codec's encoder), other what lies between."""


PEER = "diffusers="
"""Before a model's name: diffusers' own pipeline over it."""


class Contestant(ABC):
    """What is timed: once from picture on disk to clip on disk, in seconds by stage, with its number of calls."""

    name: str
    hash: str
    device: torch.device

    @abstractmethod
    def once(self, image: Path, settings: Settings, folder: Path) -> dict[str, float]:
        """STAGES but "other", and "calls"."""


class Ours(Contestant):
    """A model as `sfv generate` uses it."""

    def __init__(self, name: str, steps: int | None, device: str) -> None:
        self.model, self.steps = load(name, pick_device(device)), steps
        self.name, self.hash, self.device = _title(name, steps), self.model.hash, self.model.device

    def once(self, image: Path, settings: Settings, folder: Path) -> dict[str, float]:
        """One clip."""
        want = settings.model_copy(update={"steps": self.steps or settings.steps})
        start, target = time.perf_counter(), folder / ("clip.webp" if want.transparent else "clip.mp4")
        with clocked({"picture": self.model.conditioner.picture_tower()}, self.device) as spent:
            report = animate_file(self.model, image, want, target)
        total = time.perf_counter() - start
        seconds = report["seconds"] | {"encode": report["seconds"]["encode"] - spent["picture"]}
        return {**seconds, **spent, "total": total, "calls": report["calls"]}


class Peer(Contestant):
    """diffusers' own pipeline, read and written by the same readers and writers."""

    def __init__(self, name: str, steps: int | None, device: str) -> None:
        self.stock, model = load_stock(name, pick_device(device))
        self.own, self.device, self.hash = model.defaults, model.device, model.hash
        self.name, self.steps = _title(PEER + name, steps), steps

    def once(self, image: Path, settings: Settings, folder: Path) -> dict[str, float]:
        """One clip, by the model's defaults and the settings over them."""
        want = settings.model_copy(update={"steps": self.steps or settings.steps}).over(self.own)
        own = Defaults(**want.model_dump(include=set(Defaults.model_fields)))
        start = time.perf_counter()
        picture = fit(read_picture(image, want.background), own.height, own.width, want.fit, want.background)
        read = time.perf_counter()
        frames, calls, seconds = self.stock.animate(picture, own, want.seed)
        made = time.perf_counter()
        write_clip(frames, folder / "peer.mp4", own.fps)
        end = time.perf_counter()
        return {**seconds, "read": read - start, "write": end - made, "total": end - start, "calls": calls}


def contestant(row: str, device: str) -> Contestant:
    """MODEL, MODEL:STEPS, or either after "diffusers="."""
    name, steps = split_row(row.removeprefix(PEER))
    return (Peer if row.startswith(PEER) else Ours)(name, steps, device)


def _title(name: str, steps: int | None) -> str:
    return f"{name}:{steps}" if steps else name


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
        opened = [_cold(row, image, settings, Path(folder), device) for row in models]
        loaded = [m for m, _ in opened]
        every = tqdm(loaded * rounds, desc="bench", unit="clip")
        taken = [with_other(m.once(image, settings, Path(folder))) for m in every]
        rows = summaries([(m.name, m.hash) for m in loaded], taken)
        for row, (one, cold) in zip(rows, opened, strict=True):
            row |= {"cold": cold, **memory(one, image, settings, Path(folder))}
            row["flops"] = flops(one, image, settings, Path(folder))
    result = {"machine": machine(loaded[0].device), "asked": asked, "rounds": rounds, "models": rows}
    if out:
        with replacing(out) as beside:
            beside.write_text(json.dumps(result, indent=1) + "\n")
    return markdown(result) + ("\n\n" + compared(result, earlier) if earlier else "")


def with_other(taken: dict[str, float]) -> dict[str, float]:
    """The total's rest: what lies between the stages."""
    return taken | {"other": taken["total"] - sum(taken.get(k, 0.0) for k in STAGES if k not in ("other", "total"))}


def _cold(row: str, image: Path, settings: Settings, folder: Path, device: str) -> tuple[Contestant, dict[str, float]]:
    """Open a model and make its first clip: seconds that a command pays once (files may be in the disk's cache)."""
    start = time.perf_counter()
    one = contestant(row, device)
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
            both = [k for k in STAGES if k in then["median"]]
            stages = ", ".join(f"{k} {then['median'][k]:.3f} -> {m['median'][k]:.3f}" for k in both)
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


def machine(device: torch.device) -> dict[str, Any]:
    """What the seconds depend on."""
    gpu = torch.cuda.get_device_name(device) if device.type == "cuda" else None
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
