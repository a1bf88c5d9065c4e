"""diffusers and transformers, which only peers and counts of their arithmetic need: an extra."""

from collections.abc import Iterator
from contextlib import contextmanager

from sfv.errors import SfvError


@contextmanager
def needs_diffusers(what: str) -> Iterator[None]:
    """Turn a missing import inside the block into one sentence; `what` begins it."""
    try:
        yield
    except ImportError as error:
        raise SfvError(f'{what} needs {error.name or "diffusers"}: pip install "sfv[diffusers]"') from error
