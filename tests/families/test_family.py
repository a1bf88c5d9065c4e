"""The seam of families: a third one (tests/flow_family.py) goes the whole way, and nothing else knows of it."""

import signal
from pathlib import Path
from typing import Any

import flow_family
import pytest
import torch
from serving import made_here
from toys import SETTINGS, video
from trainers import train_part

from sfv.data.encode_videos import encode_videos
from sfv.errors import SfvError
from sfv.families.family import FAMILIES, PIPELINES, Family, family
from sfv.families.load import export, load, save
from sfv.generation.generate import generate
from sfv.media import read_clip
from sfv.serve.settings import ServeSettings
from sfv.speed.onnx import export_onnx
from sfv.speed.optimize import optimize


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(FAMILIES, "flow", "flow_family")
    monkeypatch.setitem(PIPELINES, flow_family.PIPELINE, "flow")


@pytest.fixture
def folder(registered: None, tmp_path: Path) -> Path:
    """Fresh weights on disk."""
    save(flow_family.fresh(), tmp_path / "flow")
    return tmp_path / "flow"


@pytest.fixture
def shards(folder: Path, tmp_path: Path) -> Path:
    (tmp_path / "videos").mkdir()
    for seed in range(3):
        video(tmp_path / "videos" / f"{seed}.mp4", seed, 8)
    encode_videos(
        [str(tmp_path / "videos")],
        str(folder),
        tmp_path / "shards",
        SETTINGS.model_copy(update={"sizes": ("32x32",)}),
        "cpu",
    )
    return tmp_path / "shards"


@pytest.mark.parametrize("name", ["svd", "motion", "wan", "flow"])
def test_a_module_holds_every_function_of_a_family(registered: None, name: str) -> None:
    assert isinstance(family(name), Family)


def test_videos_become_a_teacher_and_a_one_step_student(
    shards: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Heads at the network's own tap; a run that was stopped goes on to the same weights."""
    train_part("teacher", shards, tmp_path / "taught", "debug", init=folder)
    taught = load(tmp_path / "taught")
    assert taught.family == "flow" and not torch.equal(
        taught.denoiser.state_dict()["enter.weight"], load(folder).denoiser.state_dict()["enter.weight"]
    )
    train_part("student", shards, tmp_path / "one", "debug", init=tmp_path / "taught")
    one = load(tmp_path / "one")
    assert (one.defaults.steps, one.defaults.guidance, one.defaults.fps) == (1, 1, 10)
    encode, calls = flow_family.Flow.encode, iter(range(1000))

    def interrupted(*given: Any) -> Any:
        if next(calls) == 12:
            signal.raise_signal(signal.SIGTERM)
        return encode(*given)

    monkeypatch.setattr(flow_family.Flow, "encode", interrupted)
    with pytest.raises(SfvError, match="stopped at step . of 4"):
        train_part("student", shards, tmp_path / "two", "debug", init=tmp_path / "taught")
    train_part("student", shards, tmp_path / "two", "debug", init=tmp_path / "taught")
    two = load(tmp_path / "two").denoiser.state_dict()
    assert all(torch.equal(two[k], v) for k, v in one.denoiser.state_dict().items())


def test_a_picture_becomes_a_clip(folder: Path) -> None:
    picture = torch.randint(0, 256, (30, 40, 3), dtype=torch.uint8)
    for model in (load(folder), optimize(load(folder), "exact", "eager")):
        clip = generate(model, picture, steps=2, guidance=2.0)
        assert clip.frames.shape == (4, 32, 32, 3) and clip.calls == 4


def test_it_is_served(folder: Path, tmp_path: Path) -> None:
    """A job through the service, made by a worker in this process."""
    settings = ServeSettings(model=str(folder), data=tmp_path / "data", profile="exact", backend="eager")
    made, content = made_here(settings, {"seed": "1"})
    (tmp_path / "clip.mp4").write_bytes(content)
    assert made["model"] == "flow" and len(read_clip(tmp_path / "clip.mp4")) == 4


def test_export_and_what_it_has_not(folder: Path, tmp_path: Path) -> None:
    export(folder, tmp_path / "out", torch.float16)
    assert load(tmp_path / "out").denoiser.state_dict()["enter.weight"].abs().sum() > 0
    with pytest.raises(SfvError, match="has no ONNX graphs"):
        export_onnx(folder, tmp_path / "onnx")
