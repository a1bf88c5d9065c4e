"""The average of several fine-tunes' denoisers."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import sfv
from sfv.cli.main import main
from sfv.errors import SfvError
from sfv.families.averaging import average
from sfv.families.settings import AverageSettings


def fine_tune(folder: Path, part: str, to: Path, by: float) -> Path:
    """The same model with every number of its denoiser raised."""
    shutil.copytree(folder, to)
    (file,) = (to / part).glob("*.safetensors")
    save_file({k: v + by for k, v in load_file(file).items()}, file, metadata={"format": "pt"})
    return to


@pytest.mark.parametrize(("which", "part"), [("tiny_folder", "unet"), ("wan_folder", "transformer")])
def test_every_number_is_the_weighted_mean(
    which: str, part: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Shares are divided by their sum; everything else is the first model's, and its motion where none is given."""
    first: Path = request.getfixturevalue(which)
    other = fine_tune(first, part, tmp_path / "other", 1.0)
    out = average([first, other, first], str(tmp_path / "all"), AverageSettings(shares=(2, 1, 1), precision="float32"))
    mean, start = sfv.load(out), sfv.load(first)
    begun = start.denoiser.state_dict()
    for key, value in mean.denoiser.state_dict().items():
        torch.testing.assert_close(value, begun[key].float() + (0.25 if value.is_floating_point() else 0))
    assert mean.defaults == start.defaults
    coded = start.codec.state_dict()
    assert all(torch.equal(v, coded[k]) for k, v in mean.codec.state_dict().items())


@pytest.mark.weights
def test_an_average_of_one_model_with_itself_is_it(tmp_path: Path) -> None:
    """The embedded student keeps its teacher, and asks for the motion that is given."""
    words = ["average", "sticker", "sticker", "-o", str(tmp_path / "mine"), "--motion", "120"]
    assert main(words) == 0
    mine, embedded = sfv.load(tmp_path / "mine"), sfv.load()
    theirs = embedded.denoiser.state_dict()
    assert all(torch.equal(v, theirs[k]) for k, v in mine.denoiser.state_dict().items())
    assert mine.defaults == embedded.defaults.model_copy(update={"motion": 120.0})
    assert (tmp_path / "mine" / "teacher" / "sfv.json").is_file()


def test_what_cannot_be_averaged_is_said_and_nothing_written(
    tiny_folder: Path, wan_folder: Path, tmp_path: Path
) -> None:
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    (theirs / "notes.txt").write_text("mine")
    for models, out, shares, said in (
        ([tiny_folder], tmp_path / "out", (), "two models or more"),
        ([tiny_folder, tiny_folder], tmp_path / "out", (1.0,), "1 shares for 2 models"),
        ([tiny_folder, wan_folder], tmp_path / "out", (), "has another denoiser than"),
        ([tiny_folder, tmp_path / "none"], tmp_path / "out", (), "is not a model folder"),
        ([tiny_folder, tiny_folder], tiny_folder, (), "is there already"),
        ([tiny_folder, tiny_folder], theirs, (), "is there already"),
    ):
        with pytest.raises(SfvError, match=said):
            average(models, out, AverageSettings(shares=shares))
    with pytest.raises(SfvError, match="takes no motion"):
        average([wan_folder, wan_folder], tmp_path / "out", AverageSettings(motion=9))
    assert [p.name for p in tmp_path.iterdir()] == ["theirs"] and [p.name for p in theirs.iterdir()] == ["notes.txt"]


def test_another_configuration_of_the_same_shapes_is_refused(tiny_folder: Path, tmp_path: Path) -> None:
    """More heads of the same width, for one."""
    other = fine_tune(tiny_folder, "unet", tmp_path / "other", 0.0)
    config = json.loads((other / "unet" / "config.json").read_text())
    config["num_attention_heads"] = [2 * heads for heads in config["num_attention_heads"]]
    (other / "unet" / "config.json").write_text(json.dumps(config))
    with pytest.raises(SfvError, match="has another denoiser than"):
        average([tiny_folder, other], tmp_path / "out")


def test_what_is_cut_off_leaves_no_model(tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def cut_off(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("sfv.families.averaging.save_denoiser", cut_off)
    with pytest.raises(KeyboardInterrupt):
        average([tiny_folder, tiny_folder], tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_the_place_is_tried_before_anything_is_read(
    tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    monkeypatch.setattr("sfv.families.averaging.load", lambda *_: pytest.fail("a model was read"))
    with pytest.raises(SfvError, match="cannot be made a folder"):
        average([tiny_folder, tiny_folder], tmp_path / "notes.txt" / "out")
    with pytest.raises(SfvError, match="out lies inside the model"):
        average([tiny_folder, tiny_folder], tiny_folder / "out")


@pytest.mark.parametrize("share", ["0", "-1", "inf", "nan"])
def test_a_share_is_a_number_above_zero(share: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["average", "sticker", "sticker", "-o", str(tmp_path / "out"), "--shares", "1", share]) == 2
    assert "must be numbers above 0" in capsys.readouterr().err and not (tmp_path / "out").exists()
