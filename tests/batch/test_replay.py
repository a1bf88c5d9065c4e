"""Clips made again from their own notes: the same frames, whatever became of the picture on the way."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import wiggle
from PIL import Image
from tiny_stiffness import tiny_stiffness

from sfv.batch.clip_file import animate_file
from sfv.batch.replay import replay
from sfv.demo.keeping import written
from sfv.errors import SfvError
from sfv.families.base import VideoModel
from sfv.families.load import load
from sfv.families.motion import folder as motion_folder
from sfv.families.motion.networks import TINY_MOTION, new_motion_model
from sfv.generation.generate import generate
from sfv.media import from_note, read_clip, read_note, read_picture, to_note
from sfv.settings import Settings


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> VideoModel:
    """Opened from its folder, so that notes name it."""
    folder = tmp_path_factory.mktemp("model") / "tiny"
    motion_folder.save(wiggle(new_motion_model(TINY_MOTION, 0)), folder)
    return load(str(folder))


def wide(path: Path, height: int = 40, width: int = 100) -> Path:
    """A photo of another shape than the network's frame."""
    rng = torch.Generator().manual_seed(0)
    small = torch.randint(0, 256, (5, 5, 3), dtype=torch.uint8, generator=rng)
    Image.fromarray(small.numpy()).resize((width, height)).save(path)
    return path


def on_white(path: Path) -> None:
    """A thing on a ground: such a picture has a motion of its own."""
    wide(path, 32, 32)
    with Image.open(path) as thing:
        ground = Image.new("RGB", (64, 64), "white")
        ground.paste(thing, (16, 16))
    ground.save(path)


@pytest.mark.parametrize(
    "asked", [{"fit": "pad"}, {"fit": "crop"}, {"size": "48x64"}, {"size": "64x48", "fit": "crop"}, {"fit": "own"}]
)
def test_an_arrow_is_replayed_whatever_the_fit(model: VideoModel, tmp_path: Path, asked: dict[str, str]) -> None:
    """The note keeps the picture as it was fitted; the arrow is on the picture as it was given."""
    settings = Settings.model_validate({"drag": "0.6,0.5:0.8,0.3", "stiff": "off"} | asked)
    report = animate_file(model, wide(tmp_path / "wide.png"), settings, tmp_path / "a.png")
    first = read_clip(tmp_path / "a.png")
    assert torch.equal(first, read_clip(Path(replay(tmp_path / "a.png")["out"])))
    twice = replay(Path(report["out"]).with_name("a-replay.png"), tmp_path / "b.png")
    assert torch.equal(first, read_clip(tmp_path / "b.png")) and twice["settings"]["drag"] == settings.drag


def test_an_arrow_of_the_pages_file_is_replayed(model: VideoModel, tmp_path: Path) -> None:
    picture = read_picture(wide(tmp_path / "wide.png"))
    clip = generate(model, picture, drag="0.6,0.5:0.8,0.3", stiff="off", fit="crop")
    (tmp_path / "a.png").write_bytes(written(model, clip, "png"))
    replay(tmp_path / "a.png", tmp_path / "b.png")
    assert torch.equal(read_clip(tmp_path / "a.png"), read_clip(tmp_path / "b.png"))


def test_a_clip_moves_as_much_though_the_models_own_motion_was_chosen_anew(model: VideoModel, tmp_path: Path) -> None:
    """What was asked for is understood beside the model's own, which a later version may have changed."""
    motion_folder.save(replace(model, stiffness=tiny_stiffness(-1.0, more=40.0)), tmp_path / "model")
    lively = load(str(tmp_path / "model"))
    calmer = replace(lively, defaults=lively.defaults.model_copy(update={"motion": 90.0}))
    on_white(tmp_path / "card.png")
    animate_file(calmer, tmp_path / "card.png", Settings(stiff="off"), tmp_path / "a.png")
    animate_file(lively, tmp_path / "card.png", Settings(motion=90, stiff="off"), tmp_path / "other.png")
    replay(tmp_path / "a.png", tmp_path / "b.png")
    replay(tmp_path / "b.png", tmp_path / "c.png")
    first = read_clip(tmp_path / "a.png")
    assert all(torch.equal(first, read_clip(tmp_path / f"{name}.png")) for name in "bc")
    assert not torch.equal(first, read_clip(tmp_path / "other.png")), "the picture's own motion counts"


@pytest.mark.parametrize("kept", [256, -1, "much", None, [90]])
def test_a_damaged_motion_is_one_sentence(
    model: VideoModel, tmp_path: Path, kept: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    animate_file(model, wide(tmp_path / "wide.png"), Settings(), tmp_path / "a.png")
    note = json.dumps(json.loads(read_note(tmp_path / "a.png")) | {"usual_motion": kept})
    monkeypatch.setattr("sfv.batch.replay.read_note", lambda file: note)
    with pytest.raises(SfvError, match="holds parameters that cannot be read"):
        replay(tmp_path / "a.png")


@pytest.mark.parametrize("kept", [[0, 40], [40], "large", None])
def test_a_damaged_size_is_one_sentence(
    model: VideoModel, tmp_path: Path, kept: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    animate_file(model, wide(tmp_path / "wide.png"), Settings(drag="0.6,0.5:0.8,0.3"), tmp_path / "a.png")
    note = json.dumps(json.loads(read_note(tmp_path / "a.png")) | {"drawn_on": kept})
    monkeypatch.setattr("sfv.batch.replay.read_note", lambda file: note)
    with pytest.raises(SfvError, match="holds parameters that cannot be read"):
        replay(tmp_path / "a.png")


def test_a_very_narrow_clip_is_replayed(model: VideoModel, tmp_path: Path) -> None:
    """2000x10 pixels become 512x2: fewer than a picture that is given may have."""
    animate_file(model, wide(tmp_path / "line.png", 10, 2000), Settings(), tmp_path / "a.png")
    first, again = read_clip(tmp_path / "a.png"), read_clip(Path(replay(tmp_path / "a.png")["out"]))
    assert first.shape[1:3] == (2, 512) and torch.equal(first, again)
    narrow = torch.zeros(2, 300, 4, dtype=torch.uint8)
    assert torch.equal(from_note(to_note(narrow), transparent=True), narrow)
    with pytest.raises(SfvError, match="at least 8 pixels a side"):
        read_picture(wide(tmp_path / "thin.png", 2, 300))
