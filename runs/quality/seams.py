"""How smoothly loops close: the last frame to the first, over the median step between neighbours, on unseen stills.

    python runs/quality/seams.py STILLS OUT.json [--model MODEL] [--steps N] [--count 200] [--seed 0]

Steps are mean absolute differences in levels; median and 95th percentile over clips, and the median step itself, which
tells that the clips move at all. STILLS as in runs/quality/stills_sheet.py.
"""

import json
import statistics

import torch
from stills_sheet import arguments, drawn, pictures
from tqdm import tqdm

import sfv
from sfv.types import Frames


def seam(frames: Frames) -> tuple[float, float]:
    """Last to first over the median step, and that step."""
    x = frames.float()
    steps = (x[1:] - x[:-1]).abs().mean((1, 2, 3))
    usual = float(steps.median())
    return float((x[-1] - x[0]).abs().mean()) / max(usual, 1e-6), usual


def main() -> None:
    parser = arguments(__doc__, 200)
    parser.add_argument("--steps", type=int)
    asked = parser.parse_args()
    found, model = pictures(asked.stills), sfv.optimize(sfv.load(asked.model), "fast", "eager")
    clips = [sfv.generate(model, found[n](), steps=asked.steps) for n in tqdm(drawn(found, asked.count, asked.seed))]
    ratios, usual = zip(*(seam(c.frames) for c in clips), strict=True)
    p95 = float(torch.tensor(ratios).quantile(0.95))
    result = {"model": asked.model, "hash": model.hash, "clips": len(clips), "steps": clips[0].settings.steps}
    result |= {"seam_median": statistics.median(ratios), "seam_p95": p95, "step_median": statistics.median(usual)}
    asked.out.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
