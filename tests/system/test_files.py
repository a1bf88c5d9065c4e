"""Writing beside and renaming, and results that could replace somebody else's file."""

import errno
import json
import os
import pickle
from pathlib import Path

import pytest
from safetensors import SafetensorError

from sfv.errors import DiskError, SfvError
from sfv.system.files import allow_open_files, link_or_copy, make_folder, new_folder, not_in_the_way, replacing


def test_an_error_leaves_the_old_file_whole(tmp_path: Path) -> None:
    path = tmp_path / "kept.txt"
    path.write_text("old")
    with pytest.raises(RuntimeError), replacing(path) as beside:
        beside.write_text("half")
        raise RuntimeError("stopped")
    assert path.read_text() == "old" and [p.name for p in tmp_path.iterdir()] == ["kept.txt"]


@pytest.mark.skipif(os.name != "posix", reason="no such limit")
def test_more_files_may_be_open_if_the_system_lets(monkeypatch: pytest.MonkeyPatch) -> None:
    import resource

    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (before[0] - 2, before[1]))
    try:
        allow_open_files(before[0] - 1)
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (before[0] - 1, before[1])
        allow_open_files(before[0] - 3)
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (before[0] - 1, before[1])
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


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


FULL = "Error while serializing: I/O error: No space left on device (os error 28)"


@pytest.mark.parametrize(
    ("error", "number", "said"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), errno.ENOSPC, "No space left on device); free some space"),
        (OSError(errno.ENOSPC, "No space", "elsewhere"), errno.ENOSPC, "No space left on device); free some space"),
        (OSError(errno.EROFS, "Read-only"), errno.EROFS, "Read-only file system); choose another place"),
        (SafetensorError(FULL), errno.ENOSPC, "No space left on device); free some space"),
    ],
)
def test_a_disk_that_takes_no_file_is_one_sentence(tmp_path: Path, error: Exception, number: int, said: str) -> None:
    path = tmp_path / "kept.txt"
    path.write_text("old")
    with pytest.raises(DiskError) as caught, replacing(path) as beside:
        beside.write_text("half")
        raise error
    assert str(caught.value).startswith(f"{path} cannot be written (") and said in str(caught.value)
    assert isinstance(caught.value, OSError) and (caught.value.errno, caught.value.strerror) == (
        number,
        os.strerror(number),
    )
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value), "as a worker process hands it on"
    assert path.read_text() == "old" and [p.name for p in tmp_path.iterdir()] == ["kept.txt"]


@pytest.mark.parametrize(
    "error", [PermissionError(errno.EACCES, "no", "a source"), SafetensorError("no such key"), OSError("odd")]
)
def test_other_errors_stay_what_they_are(tmp_path: Path, error: Exception) -> None:
    with pytest.raises(type(error)) as caught, replacing(tmp_path / "x") as beside:
        beside.write_text("half")
        raise error
    assert caught.value is error
    with pytest.raises(FileNotFoundError) as missing, replacing(tmp_path / "x"):
        pass  # a writer that writes nothing is a mistake in the program
    assert not isinstance(missing.value, SfvError)


def test_a_folder_of_that_name(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    with pytest.raises(DiskError, match=r"x cannot be written \(Is a directory\)"), replacing(tmp_path / "x") as beside:
        beside.write_text("new")
    (tmp_path / "file").write_text("")
    with pytest.raises(DiskError, match="there is a file of that name"):
        make_folder(tmp_path / "file")


@pytest.mark.parametrize("there", [False, True])
def test_a_new_folder_is_there_whole_or_not_at_all(tmp_path: Path, there: bool) -> None:
    """An empty folder is filled, and may be a disk of its own; what a kill left is gone after the next time."""
    out = tmp_path / "parent" / "out"
    if there:
        out.mkdir(parents=True)
    with pytest.raises(KeyboardInterrupt), new_folder(out) as made:
        (made / "part").mkdir()
        raise KeyboardInterrupt
    assert not out.exists() or not list(out.iterdir())
    made.mkdir()  # as if killed
    (made / "half").write_text("")
    with new_folder(out) as made:
        (made / "part").mkdir()
        (made / "part" / "x").write_text("new")
    assert [p.name for p in out.iterdir()] == ["part"] and [p.name for p in out.parent.iterdir()] == ["out"]


def test_a_new_folder_replaces_nothing(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine").write_text("mine")
    with pytest.raises(SfvError, match="out is not empty; name a new folder"), new_folder(out):
        pytest.fail("begun")
    with pytest.raises(SfvError, match="mine is a file; name a new folder"), new_folder(out / "mine"):
        pytest.fail("begun")
    with pytest.raises(DiskError, match="cannot be made a folder"), new_folder(out / "mine" / "x"):
        pytest.fail("begun")
    assert [p.name for p in tmp_path.rglob("*")] == ["out", "mine"]


def test_what_is_full_is_named_by_its_place_to_be(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(DiskError, match=f"{out}/x.bin cannot be written"), new_folder(out) as made:
        with replacing(made / "x.bin"):
            raise OSError(errno.ENOSPC, "No space left on device")


def test_a_link_follows_links_and_copies_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").write_text("a")
    (tmp_path / "b").symlink_to("a")
    link_or_copy(tmp_path / "b", tmp_path / "c")
    assert (tmp_path / "c").samefile(tmp_path / "a") and not (tmp_path / "c").is_symlink()

    def refuse(*_: object) -> None:
        raise OSError(errno.EXDEV, "another disk")

    monkeypatch.setattr(os, "link", refuse)
    link_or_copy(tmp_path / "b", tmp_path / "d")
    assert (tmp_path / "d").read_text() == "a" and not (tmp_path / "d").samefile(tmp_path / "a")
