"""Files of one JSON object a line, which a run appends to and a crash may tear."""

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from sfv.errors import SfvError

T = TypeVar("T")


def append_lines(path: Path, rows: Sequence[Any]) -> None:
    """Add rows at the end; a last line that was torn while it was written is left out, so that they begin a new one."""
    if path.exists():
        _mend(path)
    with open(path, "a") as file:
        file.write("".join(json.dumps(row) + "\n" for row in rows))


def read_lines(path: Path, check: Callable[[Any], T]) -> list[T]:
    """Every row as `check` gives it back, oldest first, without a torn last line; none if there is no file.

    SfvError that names the line, if one is damaged otherwise: no JSON, or a ValueError of `check`.
    """
    try:
        *lines, last = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        return []
    except OSError as error:
        raise SfvError(f"{path} cannot be read ({error.strerror}); name a run folder") from error
    rows = list[T]()
    for number, line in enumerate([*lines, last] if _whole(last) else lines, 1):
        try:
            rows.append(check(json.loads(line)))
        except (ValueError, RecursionError) as error:
            why = error.errors()[0]["msg"] if isinstance(error, ValidationError) else error
            raise SfvError(f"{path}: line {number} is damaged ({why}); delete that line") from error
    return rows


def _whole(last: bytes) -> bool:
    """Whether what stands after the last end of a line is a row without its end."""
    try:
        return isinstance(json.loads(last), dict)
    except ValueError:
        return False


def _mend(path: Path) -> None:
    """Bring the end of a file to the end of a line."""
    with open(path, "rb+") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - 1))
        if file.read(1) in (b"", b"\n"):
            return
        file.seek(0)
        last = file.read().rpartition(b"\n")[2]
        if _whole(last):
            file.write(b"\n")
        else:
            file.truncate(size - len(last))
