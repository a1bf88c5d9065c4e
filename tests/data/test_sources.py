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


LISTS = {
    "bom.csv": "\ufeffpath\na, b.mp4\n",
    "semicolons.csv": "path;note\na, b.mp4;with, a comma\n",
    "tabs.csv": "note\tpath\nx\ta, b.mp4\n",
    "capitals.csv": ' Path ,Note\n"a, b.mp4",x\n\n',
    "shouted.csv": 'NOTE,PATH\nx,"a, b.mp4"\n',
    "quoted.csv": '"path","note"\r\n"a, b.mp4","x"\r\n',
    "spaced.csv": '"note", "path"\n"x, y", "a, b.mp4"\n',
    "windows.csv": 'path,note\r\n"a, b.mp4",x\r\n\r\n',
    "mac.csv": 'path,note\r"a, b.mp4",x\r',
    "blank.csv": '\n\npath,note\n\n"a, b.mp4",x\n,\n  \n\n',
    "lines.csv": 'note,path\n"two\nlines","a, b.mp4"\n',
    "short.csv": 'note,path,more\nx,"a, b.mp4"\n',
    "bom.jsonl": '\ufeff{"path": "a, b.mp4"}\n\n',
    "windows.jsonl": '{"path": "a, b.mp4"}\r\n\r\n',
    "mac.jsonl": '{"path": "a, b.mp4"}\r',
    "unended.jsonl": '\n{"note": "x", "path": " a, b.mp4 "}',
}
"""Lists of one video, "a, b.mp4", by their file names."""


@pytest.mark.parametrize("name", LISTS)
def test_manifests_as_people_write_them(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(LISTS[name].encode())
    assert names(tmp_path / name) == ["a, b.mp4"]


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("name", ["tabs.csv", "windows.csv", "windows.jsonl"])
def test_manifests_in_the_text_of_older_spreadsheets(tmp_path: Path, name: str, encoding: str) -> None:
    (tmp_path / name).write_bytes(f"\ufeff{LISTS[name]}".encode(encoding))
    assert names(tmp_path / name) == ["a, b.mp4"]


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("headless.csv", "a.mp4\nb.mp4\n", r'entry 1, has no "path" \(columns: a.mp4\); every entry needs one'),
        ("other.csv", "file;note\na.mp4;x\n", r'entry 1, has no "path" \(columns: file, note\); every entry needs one'),
        ("hole.csv", "note,path\nx,a.mp4\ny,\n", r'entry 2, has no "path" \(columns: note, path\)'),
        ("other.jsonl", '{"path": "a.mp4"}\n{"file": "b.mp4"}\n', r'entry 2, has no "path" \(columns: file\)'),
        ("names.jsonl", '"a.mp4"\n', 'entry 1, has no "path"; every entry needs one'),
        ("plain.jsonl", '{"path": "a.mp4"}\n\nb.mp4\n', r"cannot be read as a manifest \(line 3 is not JSON: e"),
        ("cut.jsonl", '{"path": "a.mp4"}\n{"pa', r"cannot be read as a manifest \(line 2 is not JSON: unterminated"),
        ("western.csv", b"path\ncaf\xe9.mp4\n", "is not text in UTF-8; save it once more as UTF-8"),
        ("picture.csv", b"\x89PNG\r\n\x1a\n\0\0", "is not text in UTF-8; save it once more as UTF-8"),
        ("cut.csv", b"\xff\xfep\0a", "is not text in UTF-8; save it once more as UTF-8"),
        ("head.csv", "path,note\n", "holds no videos"),
        ("empty.csv", "", "holds no videos"),
    ],
)
def test_what_is_wrong_with_a_list_is_one_sentence(tmp_path: Path, name: str, text: str | bytes, says: str) -> None:
    (tmp_path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(SfvError, match=rf"^\S+{name},? {says}") as raised:
        find([str(tmp_path / name)])
    assert "\n" not in str(raised.value)
