"""What two CPU-only measures are worth here: keeping freed memory, and plain products instead of flash attention.

    python runs/benches/bench_cpu.py OUT.json

Decodes of the embedded model with and without `keep_memory`, each in a process of its own (medians of 9, and page
faults a decode); attention forward and backward in bf16, the two ways in turn (medians of 9).
"""

import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F

import sfv
from sfv.families.svd.blocks import short_attention

SHAPES = {"spatial": (42, 2, 256, 32), "temporal": (768, 2, 14, 32)}


def faults() -> int:
    """Page faults of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


def decode(keep: bool) -> None:
    """In this process: print the median seconds and page faults of a decode."""
    if keep:
        sfv.keep_memory()
    model = sfv.load()
    codec, own = model.codec, model.defaults
    shape = codec.latent_shape(own.frames, own.height, own.width)
    latents = torch.randn(1, *shape, generator=torch.Generator().manual_seed(0))
    picture = torch.zeros(1, 3, own.height, own.width)
    rows = []
    with torch.inference_mode():
        for _ in range(13):
            before, start = faults(), time.perf_counter()
            codec.decode(latents, picture=picture)
            rows.append((time.perf_counter() - start, faults() - before))
    print(json.dumps([statistics.median(column) for column in zip(*rows[4:], strict=True)]))


def attention(shape: tuple[int, ...]) -> dict[str, float]:
    """Median milliseconds of each way, forward and backward."""
    ways: dict[str, Callable[..., torch.Tensor]] = {"flash": F.scaled_dot_product_attention, "plain": short_attention}
    taken: dict[str, list[float]] = {k: [] for k in ways}
    for _ in range(12):
        for name, way in ways.items():
            q, k, v = (torch.randn(shape, dtype=torch.bfloat16, requires_grad=True) for _ in range(3))
            start = time.perf_counter()
            way(q, k, v).sum().backward()
            taken[name].append(1000 * (time.perf_counter() - start))
    return {k: round(statistics.median(v[3:]), 2) for k, v in taken.items()}


def main(out: Path) -> None:
    """Both measures."""
    result: dict[str, object] = {"threads": torch.get_num_threads(), "torch": torch.__version__}
    for name in ("returned", "kept"):
        said = subprocess.run(
            [sys.executable, __file__, "--decode", name], check=True, stdout=subprocess.PIPE, text=True
        )
        seconds, count = json.loads(said.stdout.splitlines()[-1])
        result[f"decode, memory {name}"] = {"seconds": round(seconds, 4), "page_faults": count}
    result |= {f"{k} attention, ms": attention(shape) for k, shape in SHAPES.items()}
    out.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    decode(sys.argv[2] == "kept") if sys.argv[1] == "--decode" else main(Path(sys.argv[1]))
