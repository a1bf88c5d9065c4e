"""Bars of progress on the error stream, which a command may be asked to leave out."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tqdm import tqdm

_shown: ContextVar[bool] = ContextVar("shown", default=True)


def bar(disable: bool = False, **how: Any) -> "tqdm[Any]":
    """A bar of tqdm; none inside `no_bars`."""
    from tqdm import tqdm  # reads its environment as it is imported, which the command line sets first

    return tqdm(disable=disable or not _shown.get(), **how)


@contextmanager
def no_bars(wanted: bool = True) -> Iterator[None]:
    """No bar is shown inside, if that is `wanted`."""
    before = _shown.set(_shown.get() and not wanted)
    try:
        yield
    finally:
        _shown.reset(before)
