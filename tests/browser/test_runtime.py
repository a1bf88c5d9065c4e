"""The runtime is the pinned one or none."""

import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from sfv.browser import runtime
from sfv.errors import SfvError


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SFV_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_another_file_is_refused(tmp_path: Path) -> None:
    other = tmp_path / "other.tgz"
    other.write_bytes(b"no package")
    with pytest.raises(SfvError, match="other.tgz is not onnxruntime-web 1.30.0 as the npm registry has it; get https"):
        runtime.runtime_files(other)
    with pytest.raises(SfvError, match="absent.tgz cannot be read"):
        runtime.runtime_files(tmp_path / "absent.tgz")
    with other.open("wb") as file:
        file.truncate(runtime.SIZE)
    with pytest.raises(SfvError, match="is not onnxruntime-web"):
        runtime.runtime_files(other)


def test_without_a_network_one_sentence_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*_: Any, **__: Any) -> Any:
        raise urllib.error.URLError("no route")

    monkeypatch.setattr(urllib.request, "urlopen", offline)
    with pytest.raises(SfvError, match="cannot be fetched .*no route.*--runtime FILE.tgz"):
        runtime.runtime_files()


def test_a_download_that_was_cut_short_is_not_kept(own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Answer:
        def __enter__(self) -> "Answer":
            return self

        def __exit__(self, *_: Any) -> None:
            pass

        def read(self, size: int) -> bytes:
            return b"half"

    monkeypatch.setattr(urllib.request, "urlopen", lambda *_, **__: Answer())
    with pytest.raises(SfvError, match="cut short or changed; try again"):
        runtime.runtime_files()
    assert not own_cache.exists()
