"""How well does a model know how much a picture will move? What its network says against what the real clips do.

    python runs/quality/liveliness.py STORE OUT.json [--model MODEL]

STORE is a clip store (`sfv pack`). Of one clip of every family, over white, the latent change between the frames of its
whole round is compared with the motion ids that the network gives to its first frame, by rank correlation
(Spearman's): of training families, which the network was fitted to, and of the validation split's two halves.
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


def ranks(values: list[float]) -> torch.Tensor:
    """0 for the smallest."""
    return torch.tensor(values).argsort().argsort().double()


def summary(some: list[Known]) -> dict[str, float]:
    said, true = ([getattr(k, name) for k in some] for name in Known._fields)
    correlation = torch.corrcoef(torch.stack([ranks(said), ranks(true)]))[0, 1]
    return {
        "clips": len(some),
        "rank_correlation": round(float(correlation), 3),
        "mean_said": round(sum(said) / len(said), 1),
        "mean_true": round(sum(true) / len(true), 3),
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
    for name, clips in parts.items():
        families = by_family(clips)
        report[name] = summary([known(model, store, family[0]) for family in tqdm(families, desc=name)])
    with replacing(asked.out) as beside:
        beside.write_text(json.dumps(report, indent=1) + "\n")
    print(json.dumps(report))


if __name__ == "__main__":
    main()
