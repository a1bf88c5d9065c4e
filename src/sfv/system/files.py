"""Where files go, and writing without losing what was there."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`, with its ending; rename it over `path` when the block ends well.

    A kill or an error leaves the old file whole.
    """
    beside = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        yield beside
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def cache_folder() -> Path:
    """$SFV_CACHE, or ~/.cache/sfv."""
    return Path(os.environ.get("SFV_CACHE") or Path.home() / ".cache" / "sfv")
