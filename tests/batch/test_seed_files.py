"""Several seeds of a picture and their sheet."""

from pathlib import Path

import pytest
import torch
from PIL import Image

import sfv
from sfv.batch.seed_files import SHOWN, thumbnails
from sfv.batch.seed_names import plan_seeds, read_seeds
from sfv.cli.main import main
from sfv.errors import SfvError
from sfv.media import read_clip
from sfv.settings import Settings


def picture(path: Path) -> Path:
    rng = torch.Generator().manual_seed(0)
    Image.fromarray(torch.randint(0, 256, (64, 64, 3), dtype=torch.uint8, generator=rng).numpy()).save(path)
    return path


@pytest.mark.parametrize(
    ("text", "seeds"), [("1-4", [1, 2, 3, 4]), ("7", [7]), ("3, 9-10,3", [3, 9, 10]), ("0-0", [0])]
)
def test_seeds_are_read(text: str, seeds: list[int]) -> None:
    assert read_seeds(text) == seeds


@pytest.mark.parametrize("text", ["", "a", "4-1", "1-", "-3", "1..3", "1-99999", "1-40,100-140", str(2**63)])
def test_what_is_no_list_of_seeds_is_said(text: str) -> None:
    with pytest.raises(SfvError, match="--seeds"):
        read_seeds(text)


def test_a_clip_of_every_seed_and_a_sheet(
    tiny_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bad.png").write_text("no picture")
    (tmp_path / "out").mkdir()
    for name in ("a-seed2.webp", "a.webp"):
        (tmp_path / "out" / name).write_text("mine")
    words = ["generate", str(tmp_path / "bad.png"), str(picture(tmp_path / "a.png")), "--seeds", "1-3"]
    words += ["--format", "webp", "-o", str(tmp_path / "out"), "--model", str(tiny_folder), "--frames", "3"]
    assert main([*words, "--profile", "exact"]) == 1
    text = capsys.readouterr()
    assert "4 made, 4 failed\n" in text.out and text.err.count("bad.png is not a picture") == 1
    assert text.out.count("is left as it is") == 1 and "a-seed2.webp was not written by sfv" in text.out
    made = sorted(p.name for p in (tmp_path / "out").iterdir())
    assert made == ["a-seed1.webp", "a-seed2-2.webp", "a-seed2.webp", "a-seed3.webp", "a-seeds.png", "a.webp"]
    model = sfv.optimize(sfv.load(tiny_folder), "exact", "eager")
    alone = sfv.generate(model, sfv.read_picture(tmp_path / "a.png"), seed=3, frames=3)
    sfv.write_clip(alone.frames, tmp_path / "alone.webp", alone.fps)
    assert torch.equal(read_clip(tmp_path / "alone.webp"), read_clip(tmp_path / "out" / "a-seed3.webp"))
    with Image.open(tmp_path / "out" / "a-seeds.png") as sheet:
        assert sheet.height > 3 * 32


def test_no_two_files_of_a_run_have_one_name(tmp_path: Path) -> None:
    """cat's seed 11 and cat1's seed 1; the sheet of one and a clip of the other."""
    pictures = [picture(tmp_path / f"{stem}.png") for stem in ("cat", "cat1")]
    rows = plan_seeds(pictures, Settings(), [1, 11], tmp_path / "out", None, False, "{stem}{seed}")
    names = [[path.name for path in row[1]] for row in rows]
    assert names == [["cat1.mp4", "cat11-2.mp4"], ["cat11.mp4", "cat111.mp4"]]
    pictures = [picture(tmp_path / f"{stem}.png") for stem in ("a", "seedsa")]
    rows = plan_seeds(pictures, Settings(), [1], tmp_path / "out", "png", False, "{seed}{stem}{seed}")
    found = [path for row in rows for path in (*row[1], row[2])]
    assert len(set(found)) == len(found)


def test_every_clip_of_such_names_is_written(
    tiny_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And again under the same names."""
    pictures = [str(picture(tmp_path / f"{stem}.png")) for stem in ("cat", "cat1")]
    words = ["generate", *pictures, "--seeds", "1,11", "--name", "{stem}{seed}", "-o", str(tmp_path / "out")]
    for _ in range(2):
        assert main([*words, "--model", str(tiny_folder), "--frames", "2", "--steps", "1"]) == 0
        assert len(list((tmp_path / "out").glob("*.mp4"))) == 4
        assert "replaces" not in capsys.readouterr().out


def test_thumbnails_are_few_and_small() -> None:
    small = thumbnails(torch.zeros(72, 512, 300, 3, dtype=torch.uint8))
    assert small.shape == (SHOWN, 171, 100, 3)
    assert thumbnails(torch.zeros(3, 64, 64, 3, dtype=torch.uint8)).shape == (SHOWN, 64, 64, 3)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--seeds", "1-3", "-o", "x.mp4"], "names one file, but --seeds makes 3 clips"),
        (["--seeds", "1-3", "--seed", "4"], "--seed goes without --seeds"),
        (["--seeds", "1-3", "--resume"], "--resume goes without --seeds"),
        (["--seeds", "1-3", "--for", "slack"], "--seeds goes without --for"),
    ],
)
def test_flags_that_contradict_are_one_sentence(
    words: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["generate", str(picture(tmp_path / "a.png")), *words]) == 1
    assert said in capsys.readouterr().err
