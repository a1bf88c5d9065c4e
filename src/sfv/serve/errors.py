"""What a client gets when a request is refused."""

import logging

from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from starlette.responses import JSONResponse

from sfv.errors import DatabaseError, QueueFull, Refusal, SfvError, StoreError
from sfv.web.middleware import ASKED

log = logging.getLogger("sfv.serve")
KINDS = {401: "authentication_error", 403: "permission_error", 404: "not_found_error", 429: "rate_limit_error"}
"""What OpenAI's clients tell errors apart by; others are the request's or the server's."""


def database_error(error: SQLAlchemyError) -> DatabaseError:
    """What SQLAlchemy raised, in one line."""
    lines = str(error.orig if isinstance(error, DBAPIError) else error).strip().splitlines()
    return DatabaseError(" ".join(lines))


def problem(status: int, code: str, sentence: str, headers: dict[str, str] | None = None) -> JSONResponse:
    """What every refusal looks like."""
    why = {"code": code, "message": sentence, "type": KINDS.get(status, "server_error" if status >= 500 else ASKED)}
    return JSONResponse({"error": why}, status, headers)


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
