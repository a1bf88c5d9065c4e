"""Writing beside and renaming, and results that could replace somebody else's file."""

import json
from pathlib import Path

import pytest

from sfv.errors import SfvError
from sfv.system.files import not_in_the_way, replacing


def test_an_error_leaves_the_old_file_whole(tmp_path: Path) -> None:
    path = tmp_path / "kept.txt"
    path.write_text("old")
    with pytest.raises(RuntimeError), replacing(path) as beside:
        beside.write_text("half")
        raise RuntimeError("stopped")
    assert path.read_text() == "old" and [p.name for p in tmp_path.iterdir()] == ["kept.txt"]


def test_the_longest_name_can_be_written(tmp_path: Path) -> None:
    path = tmp_path / ("x" * 251 + ".txt")
    with replacing(path) as beside:
        beside.write_text("new")
    assert path.read_text() == "new"


def test_a_result_does_not_replace_other_files(tmp_path: Path) -> None:
    """index.html of somebody's page, a table.json of another program; sfv's own result may be made again."""
    mark, page = tmp_path / "table.json", tmp_path / "index.html"
    not_in_the_way(mark, {"protocol"}, [page])
    page.write_text("my page")
    with pytest.raises(SfvError, match="index.html is there and was not written by sfv"):
        not_in_the_way(mark, {"protocol"}, [page])
    for other in ("[1, 2]", "{", json.dumps({"rows": []})):
        mark.write_text(other)
        with pytest.raises(SfvError, match="table.json is there"):
            not_in_the_way(mark, {"protocol"}, [page])
    mark.write_text(json.dumps({"protocol": {}}))
    not_in_the_way(mark, {"protocol"}, [page])
