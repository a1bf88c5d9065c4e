"""Memory while many pictures are animated by one process, file to file.

    python runs/bench_memory.py OUT.json [PICTURES] [MODEL]

The bundled examples again and again, each with another seed, read from disk and written as mp4. What no file backs is
recorded after every picture; the largest of each tenth goes into OUT.json, and by how much the last tenth exceeds the
second (the first warms up).
"""

import json
import sys
import tempfile
import time
from pathlib import Path

from tqdm import tqdm

import sfv
from sfv.batch import animate_file, example
from sfv.memory import anonymous, keep_memory
from sfv.settings import Settings


def main(out: Path, count: int = 1000, name: str = "sticker") -> None:
    keep_memory()
    model, pictures, held = sfv.load(name), sorted(example().parent.glob("*.png")), []
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        for i in tqdm(range(count), desc="animate", unit="clip"):
            animate_file(model, pictures[i % len(pictures)], Settings(seed=i), Path(folder) / "clip.mp4")
            held.append(anonymous())
    tenths = [max(held[i * count // 10 : (i + 1) * count // 10]) for i in range(10)]
    result = {
        "pictures": count,
        "model": model.hash,
        "seconds": round(time.perf_counter() - start, 1),
        "anonymous_mb_by_tenths": [round(v / 1e6) for v in tenths],
        "growth": round(tenths[-1] / tenths[1] - 1, 4),
    }
    out.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(int, sys.argv[2:3]), *sys.argv[3:])
