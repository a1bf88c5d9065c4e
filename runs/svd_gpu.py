"""Real steps of the full-size presets on one GPU, random weights: memory and seconds, not quality.

    python runs/svd_gpu.py OUT [PRESET ...]

Writes OUT/svd-steps.json: for every preset the counted and the measured peak, seconds per step, losses finite.
"""

import json
import math
import sys
import time
from pathlib import Path

import torch
from diffusers import UNetSpatioTemporalConditionModel

from sfv.families.blueprints import Shapes
from sfv.families.svd import SVDDenoiser
from sfv.training.account import account
from sfv.training.batches import Draws, Picked
from sfv.training.config import PRESETS, StudentTraining
from sfv.training.seeds import Rngs, Seeds
from sfv.training.student import StudentTask

FRAMES, HEIGHT, WIDTH, STEPS = 14, 448, 768, 6


class Fake(Draws):
    """Latents, embeddings and condition latents of the right shapes; no codec is held, as with encoded shards."""

    device = torch.device("cuda")  # type: ignore[assignment]

    def __init__(self) -> None:
        pass

    def pick(self, rngs: Rngs) -> Picked:
        raise NotImplementedError

    def draw(self, rngs: Rngs, drop: float = 0.0, louder: torch.Tensor | None = None):  # type: ignore[no-untyped-def]
        b, y, x = len(rngs), HEIGHT // 8, WIDTH // 8
        cond = {
            "image_latents": rngs.normal(4, y, x).cuda(),
            "image_embeds": rngs.normal(1, 1024).cuda(),
            "added_time_ids": torch.tensor([[6.0, 127.0, 0.02]] * b).cuda(),
        }
        return rngs.normal(FRAMES, 4, y, x).cuda(), cond


def measured(how: StudentTraining) -> dict[str, object]:
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    with torch.device("cuda"):
        teacher = SVDDenoiser(UNetSpatioTemporalConditionModel())
    teacher = teacher.cuda()
    task = StudentTask(teacher, Fake(), how, (0.002, 700.0, 7.0))
    rows, seconds = [], []
    for step in range(STEPS):
        start = time.perf_counter()
        rows.append(task.step(how.head_start + step, Seeds(0, step)))
        torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
    return {
        "peak_gb": torch.cuda.max_memory_allocated() / 1e9,
        "seconds_per_step": sorted(seconds[1:])[len(seconds) // 2],
        "finite": all(math.isfinite(v) for row in rows for v in row.values()),
        "last": rows[-1],
    }


def main(out: Path, presets: list[str]) -> None:
    out.mkdir(parents=True, exist_ok=True)
    results = {"gpu": torch.cuda.get_device_name(), "frames": FRAMES, "size": [HEIGHT, WIDTH], "random_weights": True}
    for name in presets:
        how = PRESETS[name]["student"][-1]
        assert isinstance(how, StudentTraining)
        how = how.model_copy(update={"accumulate": 1})
        counted = account(Shapes(frames=FRAMES, height=HEIGHT, width=WIDTH), how)
        results[name] = {"counted_gb": counted.peak / 1e9} | measured(how)  # type: ignore[assignment]
        (out / "svd-steps.json").write_text(json.dumps(results, indent=1))
        print(name, results[name])


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:] or ["svd-24gb", "svd-80gb"])
