"""Where files go, and writing without losing what was there."""

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from sfv.errors import SfvError


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`, with its ending; rename it over `path` when the block ends well.

    A kill or an error leaves the old file whole. The temporary name is short, since a name may have 255 bytes.
    """
    mark = hashlib.sha256(os.fsencode(path.name)).hexdigest()[:12]
    beside = path.with_name(f".sfv-{os.getpid()}-{mark}{path.suffix}")
    try:
        yield beside
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def make_folder(path: Path) -> None:
    """Make a folder and those above it, unless it is there; SfvError if it cannot be made."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = "there is a file of that name" if path.is_file() else error.strerror
        raise SfvError(f"{path} cannot be made a folder ({reason}); choose another place for the result") from error


def not_in_the_way(mark: Path, fields: set[str], others: Sequence[Path] = ()) -> None:
    """SfvError if a result could replace somebody else's file.

    `mark` is the JSON file with `fields` that sfv writes first: while it is there, `others` are taken for sfv's too.
    """
    there = [path for path in (mark, *others) if path.exists()]
    if there and not _holds(mark, fields):
        raise SfvError(f"{there[0]} is there and was not written by sfv; choose another place for the result")


def _holds(path: Path, fields: set[str]) -> bool:
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError):
        return False
    return isinstance(found, dict) and fields <= found.keys()


def cache_folder() -> Path:
    """$SFV_CACHE, or ~/.cache/sfv."""
    return Path(os.environ.get("SFV_CACHE") or Path.home() / ".cache" / "sfv")
