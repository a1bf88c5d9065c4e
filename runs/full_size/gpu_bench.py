"""The full-size path on one GPU, part by part, each well under ten minutes; see docs/full-size-speed.md.

    python runs/full_size/gpu_bench.py PART OUT [--backend compile|graphs|eager] [--size tiny --device cpu]

Parts: kernels, stages, clips, errors, train-24gb, train-80gb, resume; table prints what OUT holds; all runs them all.
Every part writes OUT/PART.json. `--size tiny --device cpu` runs the same code on small random networks in seconds, to
try it; its figures mean nothing.
"""

import argparse
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import goals
import inference_bench
import torch
import training_bench

from sfv.costs.roofline import Ceilings, ceilings
from sfv.costs.training import account
from sfv.errors import SfvError
from sfv.kernels import refusal
from sfv.media import replacing
from sfv.system.machine import machine

CLIPS = {"full": (14, 576, 1024), "tiny": (2, 64, 64)}
TRAINED = {"full": (14, 448, 768), "tiny": (2, 64, 64)}
REWRITES = 1e-5
"""What tests/families/svd/rewrites/test_unet.py holds the rewrites to, in float32."""


def plan_of(size: str, device: str, backend: str, rounds: int, budget: float) -> inference_bench.Plan:
    """SfvError where there is no such device."""
    if device == "cuda" and not torch.cuda.is_available():
        raise SfvError("this bench needs an NVIDIA GPU, and torch sees none; try it with --size tiny --device cpu")
    torch.backends.cudnn.benchmark = True
    few = size == "tiny"
    return inference_bench.Plan(
        size, CLIPS[size], torch.device(device), backend, min(rounds, 2) if few else rounds, budget, 2 if few else 25
    )


def top(plan: inference_bench.Plan) -> Ceilings:
    """Of this device, now."""
    side, copied = (8192, 2 << 30) if plan.size == "full" else (128, 1 << 20)
    return ceilings(plan.device, side, copied, plan.rounds)


def keep(out: Path, name: str, result: dict[str, Any], plan: inference_bench.Plan) -> None:
    """Write a part's result."""
    out.mkdir(parents=True, exist_ok=True)
    header = {"size": plan.size, "clip": plan.clip, "random_weights": True, "machine": machine(plan.device)}
    with replacing(out / f"{name}.json") as beside:
        beside.write_text(json.dumps(header | result, indent=1) + "\n")


def kernels(plan: inference_bench.Plan, out: Path) -> None:
    """Each kernel beside torch's own."""
    if why := refusal(plan.device):
        print(f"kernels: {why}")
        return
    from kernel_bench import kernels as measured

    best = top(plan)
    result = measured(plan.device, 1 if plan.size == "full" else 32, best, plan.rounds)
    keep(out, "kernels", {"ceilings": asdict(best), "kernels": result}, plan)
    for name, row in result.items():
        print(f"{name}: " + ", ".join(f"{k} {v:.3g}" for k, v in row.items()))


def stages(plan: inference_bench.Plan, out: Path) -> None:
    """Every stage beside its floor."""
    result = inference_bench.stages(plan, top(plan))
    keep(out, "stages", result, plan)
    print(goals.stages(result))


def clips(plan: inference_bench.Plan, out: Path) -> None:
    """Ours and diffusers' from host to host."""
    result = inference_bench.clips(plan)
    keep(out, "clips", result, plan)
    print(json.dumps(result, indent=1))


def errors(plan: inference_bench.Plan, out: Path) -> None:
    """Against float32."""
    result = inference_bench.errors(plan)
    keep(out, "errors", result, plan)
    print(json.dumps(result, indent=1))


def train(plan: inference_bench.Plan, out: Path, name: str) -> None:
    """A preset's steps."""
    clip = TRAINED[plan.size]
    result = training_bench.steps(name, plan.size, clip, plan.device, min(plan.rounds, 7))
    if plan.size == "full":
        counted = account(steps_shapes(clip), training_bench.preset(name))
        result |= {"counted_peak_gb": counted.peak / 1e9}
    keep(out, f"train-{name}", result, plan)
    print(name, json.dumps(result, indent=1))


def steps_shapes(clip: tuple[int, int, int]) -> Any:
    """SVD's own network for clips of a size."""
    from sfv.families.svd.sizes import Shapes

    return Shapes(frames=clip[0], height=clip[1], width=clip[2])


def resume(plan: inference_bench.Plan, out: Path, name: str) -> None:
    """Checkpoint, kill, resume."""
    with tempfile.TemporaryDirectory(prefix="sfv-resume-") as folder:
        free = shutil.disk_usage(folder).free
        if plan.size == "full" and free < 45e9:
            print(f"resume: needs 45 GB of disk under {folder}, {free / 1e9:.0f} are free; set TMPDIR")
            return
        result = training_bench.resumed(name, plan.size, TRAINED[plan.size], plan.device, Path(folder))
    keep(out, "resume", result, plan)
    print(json.dumps(result, indent=1))


def rewrites(plan: inference_bench.Plan, out: Path) -> None:
    """What the tests hold, so that the table is whole."""
    keep(out, "rewrites", {"float32": REWRITES, "source": "an upper bound, held by the tests of the rewrites"}, plan)


PARTS: dict[str, Callable[[inference_bench.Plan, Path], None]] = {
    "kernels": kernels,
    "stages": stages,
    "clips": clips,
    "errors": errors,
    "train-24gb": lambda plan, out: train(plan, out, "svd-24gb"),
    "train-80gb": lambda plan, out: train(plan, out, "svd-80gb"),
    "resume": lambda plan, out: resume(plan, out, "svd-80gb"),
    "rewrites": rewrites,
}


def main(arguments: list[str]) -> int:
    """Exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("part", choices=(*PARTS, "table", "all"))
    parser.add_argument("out", type=Path)
    parser.add_argument("--size", default="full", choices=tuple(CLIPS))
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--backend", default="compile", choices=("compile", "graphs", "eager"))
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--budget", type=float, default=360.0, help="seconds of interleaved clips")
    options = parser.parse_args(arguments)
    try:
        if options.part != "table":
            plan = plan_of(options.size, options.device, options.backend, options.rounds, options.budget)
            for name in PARTS if options.part == "all" else (options.part,):
                began = time.monotonic()
                PARTS[name](plan, options.out)
                print(f"{name}: {time.monotonic() - began:.0f} s", flush=True)
    except SfvError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(goals.table(options.out))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
