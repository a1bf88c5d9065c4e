"""What the host does while SVD's size is trained and exported: seconds that a save stands still, memory of an export.

    python runs/full_size/host_memory.py OUT.json [--gigabytes 2] [--work FOLDER]

A save: so many GB of weights are copied into a checkpoint's snapshot (sfv.training.checkpoint.Snapshot), as training
does it before its thread writes them; five times, and what their median makes of `svd-80gb`'s checkpoint
(docs/results/memory.json). On a CPU each copy takes fresh memory from the system; from a GPU it goes over the bus into
page-locked memory that is kept, which is not measured without a card: copies into kept memory stand beside it.

An export, with --work: a folder of random weights of SVD's size (runs/recipes/random_svd.py, 4.5 GB, made if it is not
in FOLDER) as one file, `sfv export --to single-file`. What an earlier call measured stays in OUT.json.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from sfv.families.svd.folder import export_single
from sfv.system.memory import anonymous, peak_resident, reset_peak
from sfv.training.checkpoint import Learned, Snapshot

ROOT = Path(__file__).parents[2]
GB = 1e9
WEIGHT = (1280, 1280, 3, 3)
"""A convolution of SVD's UNet: 59 MB in float32."""


class Weights(nn.Module):
    """So many GB of SVD's convolutions in float32, written to, so that the system has given the memory."""

    def __init__(self, gigabytes: float) -> None:
        super().__init__()
        count = max(1, round(gigabytes * GB / (4 * torch.Size(WEIGHT).numel())))
        self.each = nn.ParameterList(nn.Parameter(torch.ones(WEIGHT)) for _ in range(count))


def save(gigabytes: float) -> dict[str, Any]:
    """Seconds of a snapshot on this machine, into fresh memory and into memory that is kept, and of `svd-80gb`'s."""
    weights = Weights(gigabytes)
    parts = {"generator": Learned(weights)}
    kept = [torch.zeros_like(p) for p in weights.each]

    def copies() -> None:
        for place, p in zip(kept, weights.each, strict=True):
            place.copy_(p.detach())

    size = sum(p.nbytes for p in kept)
    whole = json.loads((ROOT / "docs" / "results" / "memory.json").read_text())["svd-80gb"]["checkpoint_gb"]
    return {
        "gb": round(size / GB, 2),
        "fresh_memory": timed(lambda: Snapshot(parts, True, {}), size, whole * GB),
        "kept_memory": timed(copies, size, whole * GB),
        "svd_80gb_checkpoint_gb": whole,
        "page_locked_from_a_gpu": "not measured: there is no GPU",
    }


def timed(copy: Callable[[], object], size: int, whole: float, times: int = 5) -> dict[str, Any]:
    """Seconds by the clock, and of the processor, which others' work does not lengthen as much; `whole` bytes by their
    medians."""
    clock, processor = [], []
    for _ in range(times):
        begin = time.perf_counter(), time.process_time()
        copy()
        clock.append(time.perf_counter() - begin[0])
        processor.append(time.process_time() - begin[1])
    each = {"clock": clock, "processor": processor}
    return {
        "seconds": {k: [round(s, 2) for s in v] for k, v in each.items()},
        "svd_80gb_seconds": {k: round(statistics.median(v) * whole / size, 1) for k, v in each.items()},
    }


def export(work: Path) -> dict[str, Any]:
    """Memory and seconds of a single-file export of SVD's size in float16."""
    folder, out = work / "random-svd", work / "random-svd.safetensors"
    if not (folder / "model_index.json").exists():
        recipe = ROOT / "runs" / "recipes" / "random_svd.py"
        subprocess.run([sys.executable, str(recipe), str(folder)], check=True)  # its memory is not this process's
    reset_peak()
    before, begin = anonymous(), time.perf_counter()
    with watched() as most:
        export_single(folder, out, torch.float16)
    return {
        "file_gb": round(out.stat().st_size / GB, 2),
        "seconds": round(time.perf_counter() - begin, 1),
        "peak_resident_gb": round(peak_resident() / GB, 2),
        "peak_without_mapped_files_gb": round(max(most) / GB, 2),
        "process_before_gb": round(before / GB, 2),
    }


@contextmanager
def watched(seconds: float = 0.02) -> Iterator[list[int]]:
    """The resident bytes that no file backs, again and again while the block runs."""
    seen, done = [anonymous()], threading.Event()

    def look() -> None:
        while not done.wait(seconds):
            seen.append(anonymous())

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield seen
    finally:
        done.set()
        thread.join()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--gigabytes", type=float, default=2.0)
    parser.add_argument("--work", type=Path)
    given = parser.parse_args()
    found = json.loads(given.out.read_text()) if given.out.exists() else {}
    found["threads"], found["load"] = torch.get_num_threads(), round(os.getloadavg()[0], 1)
    found["save"] = save(given.gigabytes)
    if given.work:
        found["export"] = export(given.work)
    given.out.write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
