"""`sfv train --dry-run`: what a run is configured to do and what it will need."""

from typing import Any

from sfv.costs.training import matmul_rate, needs
from sfv.families.counted import Shapes
from sfv.families.family import SIZES
from sfv.families.load import described
from sfv.families.svd.sizes import STICKER, TINY
from sfv.families.svd.sizes import shapes as blueprint_shapes
from sfv.system.device import pick_device
from sfv.training.config import StudentTraining, TeacherTraining, TrainRequest
from sfv.training.presets import stages


def outlook(request: TrainRequest) -> dict[str, Any]:
    """The resolved configuration of every stage and, for teacher and student, what it will need (an estimate)."""
    part, preset = request.part, request.preset
    plan = stages(preset, part, request.set_)
    found: dict[str, Any] = {"part": part, "preset": preset, "stages": [s.model_dump() for s in plan]}
    if part in ("teacher", "student"):
        sizes = described(request.init) if request.init else sizes_of(preset)
        rate = matmul_rate(pick_device(request.device))
        found["needs"] = [needs(sizes, s, rate) for s in plan if isinstance(s, StudentTraining | TeacherTraining)]
    return found


def sizes_of(preset: str) -> Shapes:
    """Of the model that a preset is named after, else of the embedded one's architecture."""
    known = next((name for name in SIZES if preset.startswith(f"{name}-")), None)
    return described(known) if known else blueprint_shapes(TINY if preset == "debug" else STICKER)
