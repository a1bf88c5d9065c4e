"""Jobs in processes of their own: what dies is found, tried once more alone, and left out; the others go on."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Protocol, TypeVar

from sfv.errors import SfvError

DIED = "the process that read it died twice (often for want of memory)"


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

    Jobs that were being done when a process died are done again, one at a time; a part that kills its process again is
    left out (`Job.without`). SfvError if processes end before they begin anything.
    """
    for job in jobs:
        job.mark.unlink(missing_ok=True)
    left = list(jobs)
    while left:
        for job, done in _until_one_dies(do, left, workers, start, given):
            left.remove(job)
            yield job, done
        begun = [job for job in left if job.mark.exists()]
        if left and not begun:
            raise SfvError(
                "worker processes ended before they began; a script that uses workers must start its work under "
                'if __name__ == "__main__":'
            )
        for job in begun:
            left.remove(job)
            yield job, _alone(do, job, start, given)


def _until_one_dies(
    do: Callable[[J], R], jobs: Sequence[J], workers: int, start: Callable[..., None], given: tuple[Any, ...]
) -> Iterator[tuple[J, R]]:
    with ProcessPoolExecutor(workers, get_context("spawn"), start, given) as pool:
        futures = {}
        try:
            for job in jobs:
                futures[pool.submit(do, job)] = job
            for future in as_completed(futures):
                yield futures[future], future.result()
        except BrokenProcessPool:
            return


def _alone(do: Callable[[J], R], job: J, start: Callable[..., None], given: tuple[Any, ...]) -> R:
    """The job in a process of its own; without each part that kills it."""
    while True:
        before = job.mark.read_text()
        job.mark.unlink()
        for _, done in _until_one_dies(do, [job], 1, start, given):
            return done
        if not job.mark.exists():
            raise SfvError(f"a worker process cannot start any more; the last one did {before}")
        job = job.without(job.mark.read_text())
