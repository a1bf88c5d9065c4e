"""What OpenMP's waiting costs: `sfv generate FOLDER` as a new process, by spin count, idle and beside busy processes.

    python runs/benches/bench_busy.py OUT.json [--pictures 25] [--rounds 3] [--busy 0 1]

GOMP_SPINCOUNT is how often a waiting thread of GNU OpenMP looks before it sleeps; "sfv" leaves it to the command,
"default" gives GNU OpenMP's own number, 300,000. Seconds are medians over rounds, interleaved.
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

SPINS = {"default": "300000", "3000": "3000", "sfv": None, "0": "0"}


def generate(folder: Path, spins: str | None) -> float:
    """Seconds of one command."""
    env = {k: v for k, v in os.environ.items() if k not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    env |= {"GOMP_SPINCOUNT": spins} if spins else {}
    start = time.perf_counter()
    command = [sys.executable, "-m", "sfv", "generate", str(folder), "-o", str(folder / "out")]
    subprocess.run(command, env=env, check=True, capture_output=True)
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--pictures", type=int, default=25)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--busy", type=int, nargs="+", default=[0, 1])
    asked = parser.parse_args()
    found: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as name:
        for i in range(asked.pictures):
            shutil.copy(example(), Path(name) / f"{i}.png")
        for busy in asked.busy:
            others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(busy)]
            try:
                rounds = [{k: generate(Path(name), v) for k, v in SPINS.items()} for _ in range(asked.rounds)]
            finally:
                for other in others:
                    other.kill()
            found[f"{busy} busy"] = {k: round(statistics.median(r[k] for r in rounds), 2) for k in SPINS}
            print(busy, found[f"{busy} busy"], flush=True)
    result = {"pictures": asked.pictures, "rounds": asked.rounds, "cores": os.cpu_count(), "seconds": found}
    with replacing(asked.out) as beside:
        beside.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
