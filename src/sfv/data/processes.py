"""Jobs in processes of their own: what dies is found, tried once more alone, and left out; the others go on."""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any, Protocol, TypeVar

from sfv.errors import UNGUARDED, SfvError

DIED = "the process that read it died twice (often for want of memory)"
STARTLESS = "worker processes ended while they started (often for want of memory); use fewer of them, or one"
CONTEXT = get_context("spawn")


class Job(Protocol):
    """A piece of work that says on disk which part of it is being done."""

    @property
    def mark(self) -> Path:
        """A file that holds the name of the part that is being done; gone when the job is done."""
        ...

    def without(self, part: str) -> Any:
        """The same with a part left out."""
        ...


J = TypeVar("J", bound=Any)
R = TypeVar("R")


def done_by_processes(
    do: Callable[[J], R], jobs: Sequence[J], workers: int, start: Callable[..., None], given: tuple[Any, ...]
) -> Iterator[tuple[J, R]]:
    """(job, what `do` gave for it) as each is finished, by `workers` processes that begin with `start(*given)`.

    Jobs that were being done when a process died are done again, one at a time; a part of which a process dies again is
    left out (`Job.without`). SfvError if processes end before they begin anything.
    """
    for job in jobs:
        job.mark.unlink(missing_ok=True)
    left, begun = list(jobs), CONTEXT.Event()
    while left:
        before = len(left)
        for job, done in _until_one_dies(do, left, workers, _start, (begun, start, given)):
            left.remove(job)
            yield job, done
        broken_off = [job for job in left if job.mark.exists()]
        if not broken_off and len(left) == before:
            raise SfvError(STARTLESS if begun.is_set() else UNGUARDED)
        for job in broken_off:
            left.remove(job)
            yield job, _alone(do, job, start, given)


def _start(begun: Event, start: Callable[..., None], given: tuple[Any, ...]) -> None:
    """The beginning of a process; `begun` tells that it came so far."""
    begun.set()
    start(*given)


def _until_one_dies(
    do: Callable[[J], R], jobs: Sequence[J], workers: int, start: Callable[..., None], given: tuple[Any, ...]
) -> Iterator[tuple[J, R]]:
    with ProcessPoolExecutor(workers, CONTEXT, start, given) as pool:
        futures = {}
        try:
            for job in jobs:
                futures[pool.submit(_done, do, job)] = job
            for future in as_completed(futures):
                yield futures[future], future.result()
        except BrokenProcessPool:
            return


def _done(do: Callable[[J], R], job: J) -> R:
    """The job; a process that has no memory left ends, as one that the system ends for it."""
    try:
        return do(job)
    except (MemoryError, RuntimeError) as error:  # torch's own are RuntimeErrors
        if isinstance(error, RuntimeError) and "memory" not in str(error):
            raise
        os._exit(1)


def _alone(do: Callable[[J], R], job: J, start: Callable[..., None], given: tuple[Any, ...]) -> R:
    """The job in a process of its own; without each part of which a process died twice."""
    died = set[str]()
    while True:
        part = job.mark.read_text()
        if part in died:
            job = job.without(part)
        died.add(part)
        job.mark.unlink()
        for _, done in _until_one_dies(do, [job], 1, start, given):
            return done
        if not job.mark.exists():
            raise SfvError(f"a worker process cannot start any more; the last one did {part}")
