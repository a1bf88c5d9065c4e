"""Clip stores: what `sfv pack` makes of a set, and what it never replaces."""

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from toys import video

from sfv.cli.main import main
from sfv.data.stickers import ClipStore
from sfv.errors import SfvError


@pytest.fixture(scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One clip, and one still."""
    folder = tmp_path_factory.mktemp("set")
    with zipfile.ZipFile(folder / "clips.zip", "w") as archive:
        archive.write(video(folder / "c.mp4", 1, 6, (128, 256)), "c.mp4")
    with zipfile.ZipFile(folder / "stills.zip", "w") as archive, archive.open("a.png", "w") as file:
        Image.fromarray(np.full((256, 256, 4), 128, np.uint8), "RGBA").save(file, "png")
    row = {"id": "c", "name": "c", "group": "", "family": "f", "split": "train", "fps": 24, "frames": 6}
    (folder / "index.json").write_text(json.dumps([row]))
    return folder


@pytest.mark.parametrize("name", ["store.json", "frames.u8", "stills.json", "stills.u8"])
def test_nobodys_files_are_replaced(pack: Path, tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Nor is anything written beside them."""
    (tmp_path / name).write_text('{"a": 1}')
    assert main(["pack", str(pack), str(tmp_path)]) == 1
    assert f"{tmp_path / name} is there and was not written by sfv" in capsys.readouterr().err
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [(name, '{"a": 1}')]


def test_a_store_is_kept_and_a_damaged_one_named(pack: Path, tmp_path: Path) -> None:
    assert main(["pack", str(pack), str(tmp_path)]) == 0
    assert sorted(p.name for p in tmp_path.iterdir()) == ["frames.u8", "stills.json", "stills.u8", "store.json"]
    store, made = ClipStore(tmp_path), (tmp_path / "store.json").stat().st_mtime_ns
    assert np.array(store.frames).any()
    assert main(["pack", str(pack), str(tmp_path)]) == 0
    assert (tmp_path / "store.json").stat().st_mtime_ns == made
    frames = (tmp_path / "frames.u8").read_bytes()
    (tmp_path / "frames.u8").write_bytes(frames[:100])
    with pytest.raises(SfvError, match="is not a clip store"):
        ClipStore(tmp_path)
    (tmp_path / "frames.u8").write_bytes(frames)
    (tmp_path / "store.json").write_text('{"size": 128}')
    with pytest.raises(SfvError, match="is not a clip store"):
        ClipStore(tmp_path)


def test_a_file_is_no_store(pack: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    assert main(["pack", str(pack), str(tmp_path / "notes.txt")]) == 1
    assert "there is a file of that name" in capsys.readouterr().err
