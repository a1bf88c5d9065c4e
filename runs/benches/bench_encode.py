"""Peak memory of `sfv encode` with N and with 10 N videos, each in a process of its own.

    python runs/benches/bench_encode.py OUT.json MODEL [N]

MODEL is an SVD-architecture folder, such as one that runs/recipes/random_svd.py writes; weights do not matter here.
"""

import json
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import av
import numpy as np


def video(path: Path, seed: int) -> None:
    """Four seconds of a sliding texture, 256x256, 24 frames per second."""
    rng = np.random.default_rng(seed)
    wide = np.kron(rng.integers(0, 255, (32, 64, 3), dtype=np.uint8), np.ones((8, 8, 1), np.uint8))
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=24)
        stream.height, stream.width, stream.pix_fmt = 256, 256, "yuv420p"
        for i in range(96):
            picture = np.ascontiguousarray(wide[:, 2 * i : 2 * i + 256])
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())


def encode(folder: Path, model: str, out: Path) -> None:
    """In this process: encode, then print the peak resident size in MB."""
    from sfv.data.encode_videos import encode_videos

    encode_videos([str(folder)], model, out, device="cpu")
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def main(out: Path, model: str, count: int) -> None:
    """Both sizes, and their ratio."""
    result: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as work:
        for n in (count, 10 * count):
            folder = Path(work) / str(n)
            folder.mkdir()
            for seed in range(n):
                video(folder / f"{seed:05d}.mp4", seed)
            command = [sys.executable, __file__, "--encode", str(folder), model, str(folder / "shards")]
            said = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
            result[f"peak_mb_{n}_videos"] = round(float(said.split()[-1]), 1)
    values = list(result.values())
    result["times"] = round(values[1] / values[0], 4)
    out.write_text(json.dumps(result, indent=1) + "\n")
    print(result)


if __name__ == "__main__":
    if sys.argv[1] == "--encode":
        encode(Path(sys.argv[2]), sys.argv[3], Path(sys.argv[4]))
    else:
        main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]) if len(sys.argv) > 3 else 20)
