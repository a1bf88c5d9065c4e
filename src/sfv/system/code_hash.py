"""A hash of our own program text, for what is kept on disk and must not outlive the code that made it."""

import functools
import hashlib
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path


@functools.cache
def sources(*places: str) -> str:
    """16 hex digits over the package's modules of some folders and files, such as "edm" and "media/pixels.py".

    A comment changes it, too: something is made once more than it had to be, never once too seldom.
    """
    return hash_of_text(Path(str(files("sfv"))), places)


def hash_of_text(root: Path, places: Sequence[str]) -> str:
    """The same for modules below any folder."""
    found = {p for place in places for p in ([root / place] if place.endswith(".py") else (root / place).rglob("*.py"))}
    digest = hashlib.sha256()
    for path in sorted(found, key=lambda p: p.relative_to(root).as_posix()):
        text = path.read_bytes().replace(b"\r\n", b"\n")
        digest.update(f"{path.relative_to(root).as_posix()}:{len(text)}:".encode() + text)
    return digest.hexdigest()[:16]
