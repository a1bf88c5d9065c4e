"""Where files go, and writing without losing what was there."""

import errno
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from sfv.errors import DiskError, SfvError

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
BESIDE = ".sfv-"
"""How names begin of what is being written."""
UNWRITABLE = FULL | {errno.EROFS}
"""Errors of writing alone."""
REFUSED = {errno.EACCES, errno.EPERM, errno.EISDIR, errno.ENOTDIR, errno.EIO, errno.ENAMETOOLONG}
"""Errors that reading has too: which it was, the file's name says."""


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`, with its ending; rename it over `path` when the block ends well.

    A kill or an error leaves the old file whole. The temporary name is short, since a name may have 255 bytes.
    DiskError where the disk does not take the file.
    """
    beside = path.with_name(f"{BESIDE}{os.getpid()}-{_mark(path)}{path.suffix}")
    try:
        yield beside
        os.replace(beside, path)
    except Exception as error:
        if said := unwritten(error, path, beside):
            raise said from error
        raise
    finally:
        with suppress(OSError):  # where nothing can be removed, nothing was written
            beside.unlink()


def unwritten(error: Exception, path: Path, beside: Path) -> DiskError | None:
    """What an error of writing `path`, by way of `beside`, says of the disk; None for every other error."""
    number = _number(error)
    own = str(getattr(error, "filename", None)) in (str(path), str(beside))
    if isinstance(error, DiskError) or not (number in UNWRITABLE or (own and number in REFUSED)):
        return None
    why = os.strerror(number)
    cure = "free some space there or choose another place" if number in FULL else "choose another place"
    return DiskError(f"{path} cannot be written ({why}); {cure}, then run the same command again", number, why)


def _number(error: Exception) -> int:
    """The system's number of an error; safetensors says it in words alone. 0 for none."""
    if isinstance(error, OSError):
        return error.errno or 0
    said = re.search(r"\(os error (\d+)\)", str(error)) if type(error).__name__ == "SafetensorError" else None
    return int(said[1]) if said else 0


def _mark(path: Path) -> str:
    return hashlib.sha256(os.fsencode(path.name)).hexdigest()[:12]


def allow_open_files(most: int = 10_240) -> None:
    """Let this process, and those that it starts, hold so many files and connections open if the system does; it often
    begins with 256 or 1,024. Nothing where there is no such limit."""
    try:
        import resource
    except ImportError:
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = most if hard == resource.RLIM_INFINITY else min(most, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with suppress(OSError, ValueError):  # a system with a lower limit of its own
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def make_folder(path: Path) -> None:
    """Make a folder and those above it, unless it is there; DiskError if it cannot be made."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = "there is a file of that name" if path.is_file() else error.strerror
        said = f"{path} cannot be made a folder ({reason}); choose another place for the result"
        raise DiskError(said, error.errno or 0, error.strerror or "") from error


def link_or_copy(source: Path, target: Path) -> None:
    """A file under another name: the same data where the disk allows it, a copy elsewhere; links are followed."""
    real = source.resolve()
    with replacing(target) as beside:
        try:
            os.link(real, beside)
        except OSError:
            shutil.copyfile(real, beside)


def check_new(path: Path) -> None:
    """SfvError if a file is there, or a folder that holds more than what a killed run of sfv left."""
    if path.exists() and not path.is_dir():
        raise SfvError(f"{path} is a file; name a new folder")
    if path.is_dir() and inside(path):
        raise SfvError(f"{path} is not empty; name a new folder")


def inside(folder: Path) -> set[str]:
    """Names in a folder, if it is one, without what writing leaves when it is killed."""
    return {p.name for p in folder.iterdir() if not p.name.startswith(BESIDE)} if folder.is_dir() else set()


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Yield a folder that becomes `path`, which is not there or empty, when the block ends well.

    An error leaves nothing. A kill leaves a hidden folder, which is gone when the same is begun again.
    """
    check_new(path)
    place = path.resolve()
    fresh = not place.is_dir()
    home = place.parent if fresh else place  # a folder that is there may be a disk of its own
    made = home / f"{BESIDE}{_mark(place)}.new"
    make_folder(home)
    shutil.rmtree(made, ignore_errors=True)
    try:
        make_folder(made)
        yield made
        for part in [] if fresh else sorted(made.iterdir()):
            part.rename(place / part.name)
        if fresh:
            made.rename(place)
    except DiskError as error:
        said = str(error).replace(str(made), str(path))
        raise DiskError(said, error.errno or 0, error.strerror or "") from error
    finally:
        shutil.rmtree(made, ignore_errors=True)


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
