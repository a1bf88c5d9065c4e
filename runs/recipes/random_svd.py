"""A folder in SVD's layout with random weights, to try a machine before you accept a licence. It makes noise.

    python runs/recipes/random_svd.py OUT [--size full|tiny] [--dtype float16|bfloat16|float32]

full is SVD's own: 2.25 billion weights, 4.5 GB on disk in 16 bits, 4 GB of memory while it is made.
"""

import argparse
import sys
import time
from pathlib import Path

import torch

from sfv.errors import SfvError
from sfv.families.svd.random_weights import SIZES, write_random
from sfv.system.memory import peak_resident


def main() -> int:
    """Exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--size", choices=list(SIZES), default="full")
    parser.add_argument("--dtype", choices=["float16", "bfloat16", "float32"], default="float16")
    given = parser.parse_args()
    start = time.perf_counter()
    try:
        count = write_random(given.out, given.size, getattr(torch, given.dtype))
    except SfvError as error:
        print(f"random_svd: {error}", file=sys.stderr)
        return 1
    disk = sum(f.stat().st_size for f in given.out.rglob("*") if f.is_file())
    seconds, memory = time.perf_counter() - start, peak_resident()
    print(f"{given.out}: {count:,} random weights, {disk / 1e9:.2f} GB, {seconds:.0f} s, peak {memory / 1e9:.1f} GB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
