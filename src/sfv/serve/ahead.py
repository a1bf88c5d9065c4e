"""Pictures of the jobs that come next, read and decoded while the clips before them are made."""

from collections.abc import Callable, Container, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from sfv.errors import SfvError
from sfv.media.pictures import AnyPicture
from sfv.serve.job import Job


class Ahead:
    """One thread, and pictures of at most one batch beside the one that is made.

    Nothing is claimed: a job that another worker takes, or that is cancelled, was looked at for nothing.
    """

    def __init__(self, look: Callable[[], Sequence[Job]], read: Callable[[Job], AnyPicture]) -> None:
        """`look`: the jobs that a claim would give now. `read`: a job's picture, or SfvError."""
        self.look, self.read = look, read
        self.pool = ThreadPoolExecutor(1, "sfv-ahead")
        self.coming: dict[str, Future[AnyPicture]] = {}
        self.looking: Future[None] | None = None

    def begin(self, batch: Sequence[Job]) -> None:
        """Look for what comes after a batch, whose own pictures are kept until they are taken."""
        if self.looking and not self.looking.done():
            return
        self.forget({job.id for job in batch})
        self.looking = self.pool.submit(self._look)

    def forget(self, but: Container[str] = ()) -> None:
        """Let go of what nobody has taken."""
        for name in [n for n in list(self.coming) if n not in but]:
            self.coming.pop(name).cancel()

    def _look(self) -> None:
        try:
            jobs = self.look()
        except SfvError:  # who claims them will hear of it
            return
        for job in jobs:
            if job.id not in self.coming:
                self.coming[job.id] = self.pool.submit(self.read, job)

    def take(self, job: Job) -> AnyPicture:
        """A job's picture; one that is being read is waited for, any other that is not there yet is read now."""
        coming = self.coming.pop(job.id, None)
        return self.read(job) if coming is None or coming.cancel() else coming.result()

    def close(self) -> None:
        """Nothing is read any more."""
        self.pool.shutdown(wait=False, cancel_futures=True)
