"""Real steps of the full-size presets on one GPU, random weights: seconds, memory, rate; kill and resume.

    python runs/full_size/svd_gpu.py OUT [PRESET ...] [--size tiny --device cpu]

Writes OUT/train-PRESET.json and OUT/resume.json: what was counted and measured; not quality.
"""

import argparse
import sys
from pathlib import Path

from gpu_bench import plan_of, resume, train

from sfv.errors import SfvError

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("presets", nargs="*", default=["svd-24gb", "svd-80gb"])
    parser.add_argument("--size", default="full", choices=("full", "tiny"))
    parser.add_argument("--device", default="cuda")
    options = parser.parse_args()
    try:
        plan = plan_of(options.size, options.device, "eager", 5, 300.0)
        for name in options.presets:
            train(plan, options.out, name)
        resume(plan, options.out, "svd-80gb")
    except SfvError as error:
        sys.exit(f"error: {error}")
