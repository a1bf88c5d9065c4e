"""Pictures per second of a folder, `sfv generate` alone and with --ray in turn: OUT.json [PICTURES [ROUNDS]].

Whole commands, start included, on copies of the bundled examples; the time of one picture is taken off both, so that
what is left is the work. Nothing else should run meanwhile.
"""

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.resources import files
from pathlib import Path

WAYS: dict[str, tuple[str, ...]] = {"alone": (), "ray": ("--ray",)}


def seconds(way: str, folder: Path, out: Path) -> float:
    """Wall time of one whole command."""
    shutil.rmtree(out, ignore_errors=True)
    command = [sys.executable, "-m", "sfv", "generate", str(folder), "-o", str(out), *WAYS[way]]
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - start


def copies(folder: Path, count: int) -> Path:
    """A folder of so many pictures."""
    folder.mkdir()
    examples = sorted((Path(str(files("sfv"))) / "examples").glob("*.png"))
    for i in range(count):
        shutil.copy(examples[i % len(examples)], folder / f"{i:06}.png")
    return folder


def main(out: Path, count: int = 400, rounds: int = 3) -> None:
    """Write the medians and the ratio."""
    with tempfile.TemporaryDirectory() as place:
        few, many = copies(Path(place) / "few", 2), copies(Path(place) / "many", count)
        taken: dict[str, dict[str, list[float]]] = {w: {"start": [], "whole": []} for w in WAYS}
        for _ in range(rounds):
            for way in WAYS:
                taken[way]["start"].append(seconds(way, few, Path(place) / "out"))
                taken[way]["whole"].append(seconds(way, many, Path(place) / "out"))
    rate = {w: (count - 2) / (statistics.median(t["whole"]) - statistics.median(t["start"])) for w, t in taken.items()}
    result = {"pictures": count, "cpus": os.cpu_count(), "seconds": taken, "clips per second": rate}
    out.write_text(json.dumps(result | {"ray/alone": rate["ray"] / rate["alone"]}, indent=1) + "\n")
    print(out.read_text())


if __name__ == "__main__":
    main(Path(sys.argv[1]), *(int(a) for a in sys.argv[2:4]))
