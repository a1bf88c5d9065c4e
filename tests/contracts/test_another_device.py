"""Everything that a GPU does apart from the host, on a device that refuses to be mixed with it (tests/elsewhere.py)."""

from pathlib import Path
from typing import Any

import pytest
import ranks
import torch
from elsewhere import DEVICE, elsewhere

import sfv
from sfv.families.base import VideoModel
from sfv.families.motion.networks import TINY_MOTION, new_motion_model
from sfv.families.svd.sizes import TINY, new_model
from sfv.training.config import (
    ClipTraining,
    ConsistencyTraining,
    DistributionTraining,
    DriftingTraining,
    PairTraining,
    StudentTraining,
    TeacherTraining,
)
from sfv.training.objectives.denoising import train_teacher
from sfv.training.objectives.distil import train_chain

SIDE = TINY_MOTION.size
LOOPS: dict[str, dict[str, Any]] = {
    "free": {"stiff": "off"},
    "one body": {"stiff": "on"},
    "clear": {"transparent": True},
    "sway": {"move": "sway"},
    "float": {"move": "float"},
    "arrow": {"drag": "0.5,0.5:0.6,0.5", "stiff": "off"},
    "mask": {"keep_still": torch.zeros(SIDE, SIDE, 3, dtype=torch.uint8)},
    "larger": {"size": str(2 * SIDE)},
    "steps": {"steps": 3, "guidance": 2.0},
}


@pytest.fixture(scope="module")
def loops() -> VideoModel:
    return new_motion_model(TINY_MOTION, 0).to(DEVICE)


QUICK = ("one body", "arrow", "mask")
"""The others are slow for what they add."""


@pytest.mark.parametrize("name", [n if n in QUICK else pytest.param(n, marks=pytest.mark.long) for n in LOOPS])
def test_a_loop_is_made_there(loops: VideoModel, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    picture = torch.zeros(SIDE, SIDE, 4 if name == "clear" else 3, dtype=torch.uint8)
    with elsewhere(monkeypatch):
        clip = sfv.generate(loops, picture, **LOOPS[name])
    assert clip.frames.device.type == "cpu" and clip.frames.shape[1] == (2 * SIDE if name == "larger" else SIDE)


@pytest.mark.parametrize("asked", [{}, pytest.param({"steps": 2, "guidance": 1.0}, marks=pytest.mark.long)])
def test_a_clip_of_svds_kind_is_made_there(asked: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    model = new_model(TINY, 0).to(DEVICE)
    with elsewhere(monkeypatch):
        clip = sfv.generate(model, torch.zeros(32, 32, 3, dtype=torch.uint8), **asked)
    assert clip.frames.device.type == "cpu"


RUN = {"steps": 1, "clips": 2, "log_every": 1, "save_minutes": 0.0, "precision": "bf16"}
HEADS = RUN | {"head_start": 0, "head_width": 32}
PAIRS = RUN | {"pairs": 4, "pair_steps": 2}
ADAPTED = {"lora": 4, "backbone_lora": 4, "shared": False, "gamma": 0.0, "smoothness": 1.0, "heads": "stc"}


@pytest.mark.parametrize(
    "stages",
    [
        pytest.param(
            [StudentTraining(**HEADS, optimizer="sm3", head_optimizer="sm3")], id="sm3", marks=pytest.mark.long
        ),
        pytest.param([StudentTraining(**HEADS, **ADAPTED)], id="both adapt", marks=pytest.mark.long),
        pytest.param(
            [StudentTraining(**HEADS, differences=True, feature_matching=1.0, average="host")],
            id="average on the host",
            marks=pytest.mark.long,
        ),
        pytest.param(
            [StudentTraining(**HEADS, sample_every=1, samples=4, keep="best")], id="samples", marks=pytest.mark.long
        ),
        pytest.param(
            [StudentTraining(**HEADS, real="teacher", target="teacher", target_steps=2, target_guidance=1.5)],
            id="the teacher's clips",
            marks=pytest.mark.long,
        ),
        pytest.param(
            [PairTraining(**PAIRS, lora=4), StudentTraining(**HEADS, lora=4)], id="chain", marks=pytest.mark.long
        ),
        pytest.param([TeacherTraining(**RUN)], id="teacher", marks=pytest.mark.long),
        pytest.param([ConsistencyTraining(**RUN)], id="consistency", marks=pytest.mark.long),
        pytest.param([DriftingTraining(**RUN)], id="drifting", marks=pytest.mark.long),
        pytest.param([DistributionTraining(**RUN)], id="distribution", marks=pytest.mark.long),
    ],
)
def test_a_run_ends_and_goes_on_there(
    stages: list[ClipTraining], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Trained, saved, ended; then opened anew, resumed from what was saved, and ended where it was."""
    for steps in (1, 2):
        model = new_model(TINY, 0).to(DEVICE)
        batches, plan = ranks.Noise(model), tuple(s.model_copy(update={"steps": steps}) for s in stages)
        with elsewhere(monkeypatch):
            if isinstance(plan[0], TeacherTraining):
                levels = model.sigma_min, model.sigma_max
                trained = train_teacher(model.denoiser.requires_grad_(True), batches, plan[0], levels, tmp_path)
            else:
                trained = train_chain(model.denoiser, batches, plan, model.noise_range, tmp_path)
        assert {p.device.type for p in trained.parameters()} == {DEVICE.type}
