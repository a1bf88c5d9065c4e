"""`sfv train --dry-run`: what a run is configured to do and what it will need."""

from typing import Any

from sfv.costs.training import matmul_rate, needs
from sfv.families.svd.folder import shapes
from sfv.families.svd.sizes import STICKER, TINY, Shapes
from sfv.families.svd.sizes import shapes as blueprint_shapes
from sfv.system.device import pick_device
from sfv.training.config import StudentTraining, TeacherTraining, TrainRequest
from sfv.training.presets import stages

SVD = Shapes()


def outlook(request: TrainRequest) -> dict[str, Any]:
    """The resolved configuration of every stage and, for teacher and student, what it will need (an estimate)."""
    part, preset = request.part, request.preset
    plan = stages(preset, part, request.set_)
    found: dict[str, Any] = {"part": part, "preset": preset, "stages": [s.model_dump() for s in plan]}
    if part in ("teacher", "student"):
        shapes_of_preset = SVD if preset.startswith("svd") else blueprint_shapes(TINY if preset == "debug" else STICKER)
        sizes = shapes(request.init) if request.init else shapes_of_preset
        rate = matmul_rate(pick_device(request.device))
        found["needs"] = [needs(sizes, s, rate) for s in plan if isinstance(s, StudentTraining | TeacherTraining)]
    return found
