"""What a client gets when a request is refused."""

import logging

from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from sfv.errors import DatabaseError, QueueFull, Refusal, SfvError, StoreError

log = logging.getLogger("sfv.serve")


def database_error(error: SQLAlchemyError) -> DatabaseError:
    """What SQLAlchemy raised, in one line."""
    lines = str(error.orig if isinstance(error, DBAPIError) else error).strip().splitlines()
    return DatabaseError(" ".join(lines))


def answer(error: SfvError) -> Refusal:
    """What a client gets for any error of this package."""
    if isinstance(error, Refusal):
        return error
    if isinstance(error, StoreError | DatabaseError):
        if isinstance(error, DatabaseError):
            log.warning("%s", error.detail)
        return Refusal(507 if error.full else 503, "storage", str(error), 30)
    if isinstance(error, QueueFull):
        return Refusal(429, "queue_full", str(error), 1)
    return Refusal(422, "settings", str(error))
