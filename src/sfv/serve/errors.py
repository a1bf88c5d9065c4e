"""What a client is told when a request is not taken on."""

import logging

from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from sfv.errors import SfvError

log = logging.getLogger("sfv.serve")


class Refusal(SfvError):
    """A request that is not taken on: HTTP status, a word for programs, and seconds after which to try again."""

    def __init__(self, status: int, code: str, sentence: str, again: int = 0) -> None:
        super().__init__(sentence)
        self.status, self.code, self.again = status, code, again


class QueueFull(SfvError):
    """As many jobs wait as may."""


class DatabaseError(SfvError):
    """The database does not do what it was asked. `full`: for want of room."""

    def __init__(self, error: SQLAlchemyError) -> None:
        said = str(error.orig if isinstance(error, DBAPIError) else error).strip().splitlines()
        super().__init__("the jobs' database does not answer as it should; try again later")
        self.detail = " ".join(said)
        """What it said, for the server's log alone: it may name hosts and files."""
        self.full = "is full" in self.detail or "No space" in self.detail


class StoreError(SfvError):
    """Something could not be kept or read. `full`: for want of room."""

    def __init__(self, sentence: str, full: bool = False) -> None:
        super().__init__(sentence)
        self.full = full


def answer(error: SfvError) -> Refusal:
    """What a client is told of any error of this package."""
    if isinstance(error, Refusal):
        return error
    if isinstance(error, StoreError | DatabaseError):
        if isinstance(error, DatabaseError):
            log.warning("%s", error.detail)
        return Refusal(507 if error.full else 503, "storage", str(error), 30)
    if isinstance(error, QueueFull):
        return Refusal(429, "queue_full", str(error), 1)
    return Refusal(422, "settings", str(error))
