"""30 good and 20 bad videos, encoded in one go, and with the process killed at random ten times: the same files?

A run that ends before its kill is followed by another in a new folder, until ten kills have hit.

    python runs/robustness/killed_encode.py --out docs/results/killed-encode.json

`--workers 2` kills worker processes along with it. Exit code 1 if a byte differs, or a bad file has no reason.
"""

import argparse
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import av
import numpy as np

GOOD, BAD = 30, 20


def video(path: Path, seed: int, frames: int = 40, change: int = 0) -> bytes:
    """A texture that slides to the right; from frame `change` on in another size."""
    wide = np.kron(np.random.default_rng(seed).integers(0, 255, (8, 60, 3), np.uint8), np.ones((12, 12, 1), np.uint8))
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.height, stream.width, stream.pix_fmt = 96, 128, "yuv420p"
        for i in range(frames):
            picture = np.ascontiguousarray(wide[:, 3 * i : 3 * i + 128])
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return path.read_bytes()


def make(folder: Path) -> None:
    """Good and bad files, in an order that mixes them."""
    folder.mkdir()
    for i in range(GOOD):
        video(folder / f"{i:02d}-good.mp4", i)
    whole = video(folder / "whole.ts", 99)
    whole_mp4 = video(folder / "whole.mp4", 98)
    for name in ("whole.ts", "whole.mp4"):
        (folder / name).unlink()
    bad = {
        "empty.mp4": b"",
        "text.mp4": b"<!DOCTYPE html><title>404</title>",
        "cut.mp4": whole_mp4[: len(whole_mp4) // 2],
        "noise.mkv": np.random.default_rng(0).bytes(4000),
        "zeros.mov": bytes(4000),
    }
    for i in range(BAD):
        name, data = list(bad.items())[i % len(bad)]
        (folder / f"{i:02d}-{name}").write_bytes(data)
    video(folder / f"{BAD - 1:02d}-zeros.mov", 97, frames=3)  # too short instead
    (folder / f"{BAD - 2:02d}-noise.mkv").unlink()
    (folder / f"{BAD - 2:02d}-tail.ts").write_bytes(whole[-1500:])


def encode(videos: Path, out: Path, args: argparse.Namespace) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", "sfv", "encode", str(videos), "-o", str(out), "--model", args.model]
    command += ["--workers", str(args.workers), "--sizes", "128x128", "--fps", "10", "--frames", "14"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    return subprocess.Popen(command, start_new_session=True, **quiet)


def prints(out: Path) -> dict[str, str]:
    """SHA-256 of every file."""
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(out.iterdir()) if p.is_file()}


def main() -> int:
    """Encode, kill, compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="sticker-teacher")
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="JSON of what came out")
    args = parser.parse_args()
    dice = random.Random(args.seed)
    with tempfile.TemporaryDirectory() as scratch:
        videos, whole = Path(scratch) / "videos", Path(scratch) / "whole"
        make(videos)
        before = prints(videos)
        began = time.perf_counter()
        if encode(videos, whole, args).wait() != 0:
            raise SystemExit("the run without a kill failed")
        seconds = time.perf_counter() - began
        then: list[str] = []
        ends: list[int] = []
        folders = [Path(scratch) / "cut-0"]
        while len(then) < args.kills or len(ends) < len(folders):
            process = encode(videos, folders[-1], args)
            wait = round(dice.uniform(0.05, 0.35) * seconds, 2) if len(then) < args.kills else None
            try:
                ends.append(process.wait(wait))
                if len(then) < args.kills:
                    folders.append(Path(scratch) / f"cut-{len(folders)}")
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                done = len(list(folders[-1].glob("job-*.json")))
                then.append(f"run {len(folders)}: {done} of 4 jobs done after {wait} s")
        cut = folders[0]
        rows = [json.loads(line) for line in (cut / "rejected.jsonl").read_text().splitlines()]
        named = {Path(r["source"]).name for r in rows if r["why"]}
        bad = {p.name for p in videos.iterdir() if "good" not in p.name}
        result: dict[str, Any] = {"command": sys.argv, "seconds": round(seconds, 1), "kills": then}
        result |= {"exit codes": ends, "files": len(prints(whole))}
        result |= {"same": all(prints(whole) == prints(cut) for cut in folders)}
        result |= {
            "bad": len(bad),
            "without a reason": sorted(bad - named),
            "videos unchanged": before == prints(videos),
        }
    print(json.dumps(result, indent=1))
    if args.out:
        args.out.write_text(json.dumps(result, indent=1) + "\n")
    return int(not (result["same"] and result["videos unchanged"]) or bool(result["without a reason"]) or any(ends))


if __name__ == "__main__":
    sys.exit(main())
