"""Do clips begin at once? How much of a clip's motion its first third carries, on unseen stills.

    python runs/quality/first_third.py STILLS OUT.json [--model MODEL] [--count 200] [--seed 0]

Motion is the mean absolute difference of neighbouring frames as they are played, the last and the first among them, at
the network's own size; an even clip carries 0.33. STILLS as in runs/quality/stills_sheet.py.
"""

import json

import torch
from stills_sheet import arguments, drawn, pictures
from tqdm import tqdm

import sfv
from sfv.media import replacing
from sfv.types import Frames

LEAST = 0.2
"""Of a clip that begins at once."""
STILL = 0.05
"""Levels of the mean step below which a clip does not move at all."""


def first_third(frames: Frames) -> tuple[float, float]:
    """The share of all steps that lies in the first third of them, and the mean step in levels."""
    x = frames.float()
    steps = (x.roll(-1, 0) - x).abs().mean((1, 2, 3))
    return float(steps[: len(steps) // 3].sum() / steps.sum().clamp(min=1e-9)), float(steps.mean())


def main() -> None:
    asked = arguments(__doc__, 200).parse_args()
    found, model = pictures(asked.stills), sfv.optimize(sfv.load(asked.model), "fast", "eager")
    names = drawn(found, asked.count, asked.seed)
    side = str(max(model.defaults.height, model.defaults.width))
    rows = {n: first_third(sfv.generate(model, found[n](), size=side).frames) for n in tqdm(names, unit="still")}
    shares = torch.tensor([share for share, _ in rows.values()])
    result = {
        "command": f"python runs/quality/first_third.py STILLS {asked.out} --count {asked.count} --seed {asked.seed}",
        "model": asked.model,
        "hash": model.hash,
        "clips": len(rows),
        "at_least_0.2": float((shares >= LEAST).float().mean()),
        "median": float(shares.median()),
        "p05": float(shares.quantile(0.05)),
        "least": float(shares.min()),
        "without_motion": sum(step < STILL for _, step in rows.values()),
        "below": {n: round(share, 3) for n, (share, _) in rows.items() if share < LEAST},
    }
    with replacing(asked.out) as beside:
        beside.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
