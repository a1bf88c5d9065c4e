"""Bars of progress on the error stream, which a command may be asked to leave out, and lines beside them."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tqdm import tqdm

_shown: ContextVar[bool] = ContextVar("shown", default=True)


def bar(disable: bool = False, **how: Any) -> "tqdm[Any]":
    """A bar of tqdm on a terminal; none inside `no_bars`, nor in a file, where lines would begin with it."""
    from tqdm import tqdm  # reads its environment as it is imported, which the command line sets first

    return tqdm(disable=True if disable or not _shown.get() else None, **how)


def say(line: str, wrong: bool = False) -> None:
    """A line of its own, at once: bars that are shown make room for it. What went `wrong` goes to the error stream."""
    from tqdm import tqdm

    to = sys.stderr if wrong else sys.stdout
    tqdm.write(line, to)
    to.flush()


@contextmanager
def no_bars(wanted: bool = True) -> Iterator[None]:
    """No bar is shown inside, if that is `wanted`."""
    before = _shown.set(_shown.get() and not wanted)
    try:
        yield
    finally:
        _shown.reset(before)
