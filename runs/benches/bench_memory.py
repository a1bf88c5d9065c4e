"""Memory while many pictures are animated by one process, file to file.

    python runs/benches/bench_memory.py OUT.json [PICTURES] [MODEL]

As `sfv generate FOLDER` does it, on the profile "fast": the bundled examples again and again, read from disk, written
as mp4 while the next is made. What no file backs is recorded after every picture; the largest of each tenth goes into
OUT.json, and by how much the last tenth exceeds the second (the first warms up).
"""

import json
import sys
import tempfile
import time
from pathlib import Path

from sfv.batch.animate import animate_files
from sfv.batch.compare import example
from sfv.families.load import load
from sfv.media import replacing
from sfv.settings import Settings
from sfv.system.memory import anonymous, keep_memory


def main(out: Path, count: int = 1000, name: str = "sticker") -> None:
    keep_memory()
    examples, held = sorted(example().parent.glob("*.png")), []
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        pictures = []
        for i in range(count):
            pictures.append(Path(folder) / f"{i:05}.png")
            pictures[-1].write_bytes(examples[i % len(examples)].read_bytes())
        for report in animate_files(tuple(pictures), name, Settings()):
            if "error" in report:
                raise SystemExit(report["error"])
            held.append(anonymous())
    tenths = [max(held[i * count // 10 : (i + 1) * count // 10]) for i in range(10)]
    result = {
        "pictures": count,
        "model": load(name).hash,
        "seconds": round(time.perf_counter() - start, 1),
        "anonymous_mb_by_tenths": [round(v / 1e6) for v in tenths],
        "growth": round(tenths[-1] / tenths[1] - 1, 4),
    }
    with replacing(out) as beside:
        beside.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(int, sys.argv[2:3]), *sys.argv[3:])
