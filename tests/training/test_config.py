"""What a training may be asked for: every field's bounds, and that nothing of today falls outside them."""

import json

import pytest

from sfv.errors import SfvError
from sfv.training.config import (
    ConsistencyTraining,
    DecoderTraining,
    DriftingTraining,
    MotionDecoderTraining,
    PictureEncoderTraining,
    Schedule,
    StudentTraining,
    TeacherTraining,
)
from sfv.training.presets import PRESETS, stages


@pytest.mark.parametrize(
    "text",
    [
        "lr=nan",
        "lr=inf",
        "lr=-1",
        "lr_heads=-1",
        "head_width=0",
        "level_weights=[0,0,0]",
        "level_weights=[-1,1,1]",
        "level_weights=[]",
        "reconstruction_levels=[1,-1,1]",
        "p_std=-1",
        "p_mean=1000",
        "ema=2",
        "ema=1",
        "ema=-0.1",
        "decay_from=-3",
        "decay_from=1.5",
        "head_start=-5",
        "huber_c=0",
        "save_minutes=-1",
        "log_every=0",
        "seed=100000000000000000000",
    ],
)
def test_values_out_of_bounds_are_one_sentence_that_names_the_field(text: str) -> None:
    with pytest.raises(SfvError, match=f"^--set {text.partition('=')[0]}.*; see --dry-run$"):
        stages("svd-24gb", "student", (text,))


@pytest.mark.parametrize(
    ("kind", "bad"),
    [
        (TeacherTraining, {"wide": 2}),
        (TeacherTraining, {"drop": -0.1}),
        (TeacherTraining, {"max_weight": 0}),
        (DecoderTraining, {"depth": (0, 1, 1)}),
        (DecoderTraining, {"depth": ()}),
        (DecoderTraining, {"crop": 0}),
        (DecoderTraining, {"mse": -1}),
        (DecoderTraining, {"plain": 1.1}),
        (DecoderTraining, {"trust": float("nan")}),
        (MotionDecoderTraining, {"sigmas": (5.0, 0.3)}),
        (MotionDecoderTraining, {"widths": (0, 1, 1, 1)}),
        (ConsistencyTraining, {"huber_c": 0}),
        (DriftingTraining, {"temperatures": (0.0,)}),
        (PictureEncoderTraining, {"temperature": 0}),
    ],
)
def test_other_tasks_have_bounds_too(kind: type[Schedule], bad: dict[str, object]) -> None:
    given = {"steps": 1, "frames": 3} | ({"clips": 1} if "clips" in kind.model_fields else {})
    good = {k: v for k, v in given.items() if k in kind.model_fields}
    kind.model_validate(good)
    with pytest.raises(ValueError, match=next(iter(bad))):
        kind.model_validate(good | bad)


def test_every_preset_of_today_comes_back_from_json() -> None:
    plans = [stage for parts in PRESETS.values() for plan in parts.values() for stage in plan]
    assert all(type(s).model_validate(json.loads(s.model_dump_json())) == s for s in plans) and len(plans) > 50


def test_the_ends_of_a_range_belong_to_it() -> None:
    changes = {"lr": 0, "ema": 0, "decay_from": 1, "head_start": 0, "save_minutes": 0, "p_std": 0, "log_every": 1}
    assert StudentTraining.model_validate({"steps": 1, "clips": 1} | changes).lr == 0


@pytest.mark.parametrize(
    ("texts", "says"),
    [
        (("nofield=1",), "--set nofield: StudentTraining has no such field; --dry-run lists them"),
        (("lr_head=1e-3",), "--set lr_head: StudentTraining has no such field; did you mean lr_heads"),
        (("=3",), "--set =3: it is written FIELD=VALUE, or N.FIELD=VALUE for stage N"),
        (("0.=3",), "--set 0.=3: it is written FIELD=VALUE"),
        (("lr",), "--set lr: it is written FIELD=VALUE"),
        (
            ("steps=3", "head_start=0", "levels=2"),
            "--set levels: level_weights has 3 numbers, levels=2 needs 1; see --dry-run",
        ),
        (
            ("steps=3", "levels=2", "level_weights=[1,2]"),
            "--set levels, level_weights: level_weights has 2 numbers, levels=2 needs 1; see --dry-run",
        ),
    ],
)
def test_a_wrong_change_is_blamed_on_what_it_names(texts: tuple[str, ...], says: str) -> None:
    with pytest.raises(SfvError) as caught:
        stages("svd-24gb", "student", texts)
    assert str(caught.value).startswith(says)
