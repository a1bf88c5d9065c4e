"""How well does a model know how much a picture will move? What its network says against what the real clips do.

    python runs/quality/liveliness.py STORE OUT.json [--model MODEL]

STORE is a clip store (`sfv pack`). Of one clip of every family, over white, the latent change between the frames of its
whole round is compared with the motion ids that the network gives to its first frame, by rank correlation
(Spearman's) with the 95 % interval over families: of training families, which the network was fitted to, and of the
validation split's two halves, apart and together.
"""

import argparse
import json
from pathlib import Path
from typing import NamedTuple

import torch
from tqdm import tqdm

import sfv
from sfv.data.loops import DrawnLoop, over, white
from sfv.data.stickers import Clip, ClipStore, by_family
from sfv.evaluation.real_clips import of_part
from sfv.media import replacing
from sfv.training.batches import frame_difference


class Known(NamedTuple):
    """Of one clip."""

    said: float
    """Motion ids over the usual picture's."""
    true: float
    """Mean latent change between neighbouring frames."""


@torch.inference_mode()
def known(model: sfv.VideoModel, store: ClipStore, clip: Clip) -> Known:
    """What is said of a clip's first frame, and what the clip does."""
    assert model.stiffness is not None
    loop, frames = DrawnLoop(store, clip), model.defaults.frames
    layers = over(loop.frames(torch.arange(frames) / frames), white(store.size)) * 2 - 1
    _, more = model.stiffness.judged(layers[:1])
    return Known(float(more), float(frame_difference(model.codec.encode(layers[None])[0].float())))


DRAWS = 2000
"""Of the bootstrap."""


def ranks(values: torch.Tensor) -> torch.Tensor:
    """0 for the smallest; equal ones share their mean rank."""
    return (values[:, None] > values).sum(1) + ((values[:, None] == values).sum(1) - 1) / 2.0


def correlation(said: torch.Tensor, true: torch.Tensor) -> float:
    """Spearman's."""
    return float(torch.corrcoef(torch.stack([ranks(said), ranks(true)]))[0, 1])


def interval(said: torch.Tensor, true: torch.Tensor) -> tuple[float, float]:
    """95 % of draws of families with repeats."""
    draw = torch.Generator().manual_seed(0)
    found = [
        correlation(said[at], true[at])
        for at in torch.randint(len(said), (DRAWS, len(said)), generator=draw)
        if said[at].unique().numel() > 1
    ]
    low, high = torch.tensor(found, dtype=torch.float64).quantile(torch.tensor([0.025, 0.975], dtype=torch.float64))
    return float(low), float(high)


def summary(some: list[Known]) -> dict[str, float]:
    said, true = (torch.tensor([getattr(k, name) for k in some], dtype=torch.float64) for name in Known._fields)
    low, high = interval(said, true)
    return {
        "clips": len(some),
        "rank_correlation": round(correlation(said, true), 3),
        "low": round(low, 3),
        "high": round(high, 3),
        "mean_said": round(float(said.mean()), 1),
        "mean_true": round(float(true.mean()), 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--model", default="sticker")
    asked = parser.parse_args()
    model, store = sfv.load(asked.model), ClipStore(asked.store)
    held_out = store.split("val")
    parts = {"training": store.split("train")}
    parts |= {part: of_part(held_out, lambda c: c.family, part) for part in ("selection", "report")}
    report: dict[str, object] = {"model": asked.model, "hash": model.hash}
    found: dict[str, list[Known]] = {}
    for name, clips in parts.items():
        families = by_family(clips)
        found[name] = [known(model, store, family[0]) for family in tqdm(families, desc=name)]
    found["both halves"] = found["selection"] + found["report"]
    report |= {name: summary(some) for name, some in found.items()}
    with replacing(asked.out) as beside:
        beside.write_text(json.dumps(report, indent=1) + "\n")
    print(json.dumps(report))


if __name__ == "__main__":
    main()
