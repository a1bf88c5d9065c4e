"""How long a first command takes: new processes, interleaved, medians; beside them what importing alone costs.

    python runs/benches/bench_start.py OUT.json [--rounds 7]

"torch" and "diffusers" import torch, and diffusers' pipeline of Stable Video Diffusion, and do nothing else.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from sfv.batch.compare import example
from sfv.media import replacing

SFV = [sys.executable, "-m", "sfv", "generate"]
COMMANDS = {
    "sfv generate cat.png": [*SFV, "cat.png"],
    "sfv generate nope.png": [*SFV, "nope.png"],
    "sfv generate cat.png --background nocolour": [*SFV, "cat.png", "--background", "nocolour"],
    "sfv generate cat.png -o x.avi": [*SFV, "cat.png", "-o", "x.avi"],
    "torch": [sys.executable, "-c", "import torch"],
    "diffusers": [sys.executable, "-c", "from diffusers import StableVideoDiffusionPipeline"],
}


def seconds(command: list[str], folder: str) -> float:
    """Of one process, whatever its exit code."""
    start = time.perf_counter()
    subprocess.run(command, cwd=folder, capture_output=True, check=False)
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--rounds", type=int, default=7)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(example(), Path(folder) / "cat.png")
        rounds = [{k: seconds(c, folder) for k, c in COMMANDS.items()} for _ in range(asked.rounds + 1)][1:]
    taken = {k: [round(r[k], 2) for r in rounds] for k in COMMANDS}
    result = {"cores": os.cpu_count(), "median": {k: statistics.median(v) for k, v in taken.items()}, "seconds": taken}
    with replacing(asked.out) as beside:
        beside.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result["median"], indent=1))


if __name__ == "__main__":
    main()
