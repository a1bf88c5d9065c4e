"""Folders with links and hidden files; manifests as people and spreadsheets write them."""

import os
from pathlib import Path

import pytest

from sfv.data.sources import find
from sfv.errors import SfvError


def names(place: Path) -> list[str]:
    return [Path(s.path).name for s in find([str(place)])]


def test_links_are_followed_and_circles_noticed(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "a.mp4").touch()
    (tmp_path / "films" / "inner").mkdir(parents=True)
    (tmp_path / "films" / "b.mp4").touch()
    os.symlink(tmp_path / "real", tmp_path / "films" / "linked")
    os.symlink(tmp_path / "films", tmp_path / "films" / "inner" / "again")
    assert sorted(names(tmp_path / "films")) == ["a.mp4", "b.mp4"]


def test_hidden_files_and_folders_like_videos_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").touch()
    (tmp_path / "._a.mp4").touch()
    (tmp_path / ".trash").mkdir()
    (tmp_path / ".trash" / "b.mp4").touch()
    (tmp_path / "folder.mp4").mkdir()
    assert names(tmp_path) == ["a.mp4"]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("bom.csv", "\ufeffpath\na.mp4\n"),
        ("semicolons.csv", "path;note\na.mp4;with, a comma\n"),
        ("tabs.csv", "note\tpath\nx\ta.mp4\n"),
        ("capitals.csv", " Path ,Note\na.mp4,x\n\n"),
        ("quoted.csv", '"path","note"\r\n"a.mp4","x"\r\n'),
        ("bom.jsonl", '\ufeff{"path": "a.mp4"}\n\n'),
    ],
)
def test_manifests_as_people_write_them(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / "a.mp4").touch()
    (tmp_path / name).write_bytes(text.encode())
    assert names(tmp_path / name) == ["a.mp4"]


def test_a_list_without_a_head_names_what_it_took_for_one(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("a.mp4\nb.mp4\n")
    with pytest.raises(SfvError, match=r'list.csv, entry 1, has no "path" \(columns: a.mp4\)'):
        find([str(tmp_path / "list.csv")])
