"""`sfv train --dry-run`: what a run is configured to do and what it will need."""

import math
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

from sfv.costs.account import RANKS
from sfv.costs.training import accounts, is_counted, matmul_rate, needs
from sfv.data.shards import read_index
from sfv.families.counted import Shapes
from sfv.families.family import SIZES
from sfv.families.load import described
from sfv.families.svd.sizes import STICKER, TINY
from sfv.families.svd.sizes import shapes as blueprint_shapes
from sfv.settings import split_size
from sfv.system.device import pick_device
from sfv.training.config import TrainRequest
from sfv.training.presets import stages
from sfv.training.video_parts import is_videos

SMALL = "svd-small-"
"""Presets of this beginning train a small model of SVD's kind from nothing."""


def outlook(request: TrainRequest) -> dict[str, Any]:
    """The resolved configuration of every stage and, for teacher and student, what it will need (an estimate)."""
    part, preset = request.part, request.preset
    plan = stages(preset, part, request.set_)
    found: dict[str, Any] = {"part": part, "preset": preset, "stages": [s.model_dump() for s in plan]}
    counted = [s for s in plan if is_counted(s)]
    if part in ("teacher", "student") and len(counted) == len(plan):
        sizes = of_shards(described(request.init) if request.init else sizes_of(preset), request.store)
        rate, shards = matmul_rate(pick_device(request.device)), shards_of(request)
        each = accounts(sizes, counted, shards)
        found["shards"] = shards
        found["needs"] = [needs(one, s.steps, rate) for one, s in zip(each, counted, strict=True)]
    return found


def of_shards(sizes: Shapes, store: Path) -> Shapes:
    """A model's sizes with the largest frames and the length of the clips in video shards; as they are without."""
    if not is_videos(store) or not (store / "index.json").exists():
        return sizes
    meta, _ = read_index(store)
    height, width = max((split_size(size) for size in meta["plan"]["sizes"]), key=math.prod)
    sized: Shapes = replace(sizes, height=height, width=width, frames=meta["frames"])  # type: ignore[type-var]
    return sized


def shards_of(request: TrainRequest) -> int:
    """Cards among which the network is divided: torchrun's under fsdp; outside of it those that a preset is meant for.

    Under ddp every card holds all of it, however many there are.
    """
    if "WORLD_SIZE" in os.environ:
        return int(os.environ["WORLD_SIZE"]) if request.parallel == "fsdp" else 1
    return RANKS.get(request.preset, 1) if request.part == "student" else 1


def sizes_of(preset: str) -> Shapes:
    """Of the model that a preset is named after, else of the small architecture that is trained from nothing."""
    known = None if preset.startswith(SMALL) else next((n for n in SIZES if preset.startswith(f"{n}-")), None)
    return described(known) if known else blueprint_shapes(TINY if preset == "debug" else STICKER)
