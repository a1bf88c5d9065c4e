"""One visit to a GPU that is at hand for minutes: parts in order, each a process of its own, by one clock.

    python runs/full_size/gpu_visit.py sticker|speed|train PACK OUT [--seconds 480]
    python runs/full_size/gpu_visit.py NAME PACK OUT --size tiny --device cpu    # a rehearsal alone

sticker: teacher and student of the embedded model, trained further (runs/recipes/sticker_gpu.py).
speed: kernels, clips, stages, errors (runs/full_size/gpu_bench.py). train: real steps of svd-24gb and svd-80gb with
peak memory beside the count, a kill and a resume. PACK is what runs/full_size/gpu_pack.py made. OUT/visit.jsonl gets a
line when a part begins and one when it ends, OUT/visit.log what they print; a part that fails is tried once more
without compiling while there is time; no part begins that the clock would cut off at once, and none takes more than
twice its even share of what is left. OUT holds at most 8 files of 16 MiB.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from gpu_pack import unpacked

RUNS = Path(__file__).parent.parent
BENCH = str(RUNS / "full_size" / "gpu_bench.py")
VISITS = {
    "speed": ("kernels", "clips", "stages", "errors"),
    "train": ("train-24gb", "train-80gb", "resume"),
    "sticker": ("sticker",),
}
EMBEDDED = RUNS.parent / "src" / "sfv" / "weights" / "sticker"
COMPILED = ("clips", "stages", "errors")
LEAST = 20.0
"""Seconds below which no part begins."""
SHARES = {"teacher": 0.55, "student": 0.3}
"""Of a sticker visit's seconds; the rest is starting, drawing clips and writing."""
TINY = ["--pool", "64", "--teacher-clips", "2", "--student-clips", "1"]
"""A sticker visit that any machine can rehearse."""


def command(part: str, options: argparse.Namespace, left: float, plain: bool) -> list[str]:
    """What runs a part; `plain`: without compiling."""
    if part == "sticker":
        folders = [str(options.pack / "sticker"), str(options.out), "--init", str(options.init)]
        given = [*folders, "--device", options.device, *(TINY if options.size == "tiny" else [])]
        seconds = [f"{k}={v * left:.0f}" for k, v in SHARES.items()]
        return [str(RUNS / "recipes" / "sticker_gpu.py"), *given, "--parts", *seconds]
    budget = ["--budget", f"{0.6 * left:.0f}"]
    backend = ["--backend", "graphs" if options.device == "cuda" else "eager"] if plain else []
    return [BENCH, part, str(options.out), "--size", options.size, "--device", options.device, *budget, *backend]


def visit(options: argparse.Namespace) -> int:
    """Number of parts that did not end well."""
    options.out.mkdir(parents=True, exist_ok=True)
    until, failed = time.monotonic() + options.seconds, 0
    environment = surroundings(options.pack / "wheels")
    parts = VISITS[options.name]
    for i, part in enumerate(parts):
        code = None
        for plain in (options.device != "cuda", True):
            left = until - time.monotonic()
            if left < LEAST or code == 0 or (code is not None and part not in COMPILED):
                break
            note(options.out, {"part": part, "begins": True, "left": round(left), "plain": plain})
            began = time.monotonic()
            most = min(left, 2 * left / (len(parts) - i))
            words = [sys.executable, *command(part, options, left, plain)]
            code = run(words, environment, most, options.out / "visit.log")
            note(options.out, {"part": part, "code": code, "seconds": round(time.monotonic() - began, 1)})
        failed += code != 0
    if options.name != "sticker":
        subprocess.run([sys.executable, BENCH, "table", str(options.out)], env=environment, check=False)
    return failed


def surroundings(wheels: Path) -> dict[str, str]:
    """The environment of every part: this repository, and what the machine lacks if wheels were brought."""
    path = [str(RUNS.parent / "src"), os.environ.get("PYTHONPATH", "")]
    if wheels.is_dir():
        path.append(str(unpacked(wheels, Path(tempfile.mkdtemp(prefix="sfv-site-")))))
    return os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, path)), "HF_HUB_OFFLINE": "1"}


def run(words: list[str], environment: dict[str, str], seconds: float, log: Path) -> int:
    """Exit status; 124 if it was stopped after so many seconds."""
    with open(log, "a") as file:
        try:
            return subprocess.run(
                words, env=environment, stdout=file, stderr=file, timeout=seconds, check=False
            ).returncode
        except subprocess.TimeoutExpired:
            return 124


def note(out: Path, row: dict[str, Any]) -> None:
    """One line, at once."""
    with open(out / "visit.jsonl", "a") as file:
        file.write(json.dumps(row) + "\n")
    print(row, flush=True)


def main(arguments: list[str]) -> int:
    """Run a visit."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=tuple(VISITS))
    parser.add_argument("pack", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seconds", type=float, default=480.0)
    parser.add_argument("--size", default="full", choices=("full", "tiny"))
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--init", type=Path, default=EMBEDDED, help="sticker: begin here")
    return min(1, visit(parser.parse_args(arguments)))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
