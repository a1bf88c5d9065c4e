"""The shapes of the JSON that the service answers with."""

from typing import Any, Literal

from pydantic import BaseModel, Field

from sfv.limits import largest, shown
from sfv.serve.job import Job
from sfv.settings import Format


class Why(BaseModel):
    """What went wrong: a word for programs and a sentence for people."""

    code: str
    message: str


class Refused(Why):
    """The same of a request."""

    type: str
    """invalid_request_error, authentication_error, permission_error, not_found_error, rate_limit_error or
    server_error."""


class Problem(BaseModel):
    """Body of every answer of 400 and above."""

    error: Refused


class Video(BaseModel):
    """A job and, once it is completed, its clip."""

    id: str
    object: Literal["video"] = "video"
    status: Literal["queued", "in_progress", "completed", "failed", "cancelled"]
    progress: int = Field(ge=0, le=100)
    """Per cent."""
    created_at: int
    """Seconds since 1970, as are all times."""
    started_at: int | None
    completed_at: int | None
    expires_at: int | None
    model: str
    size: str
    """WIDTHxHEIGHT."""
    seconds: str
    """Length of the clip."""
    format: Format
    settings: dict[str, Any]
    """Every parameter, filled; what is "auto" is settled picture by picture, and stands in the file."""
    error: Why | None
    note: str | None = None
    """What was left out of the request, in the answer to it alone."""

    @classmethod
    def of(cls, job: Job) -> "Video":
        """What a client gets to know about a job."""
        wanted = job.wanted
        return cls.model_validate(
            {
                "id": job.id,
                "status": job.status,
                "progress": job.progress,
                "created_at": int(job.created),
                "started_at": _whole(job.started),
                "completed_at": _whole(job.finished),
                "expires_at": _whole(job.expires),
                "model": job.model,
                "size": job.shape or "x".join(map(str, largest(wanted)[::-1])),
                "seconds": f"{shown(wanted) / (wanted.play_fps or wanted.fps or 7):.2f}",
                "format": job.format,
                "settings": wanted.model_dump(),
                "error": {"code": job.code, "message": job.error} if job.status == "failed" else None,
            }
        )


class Videos(BaseModel):
    """One page of videos."""

    object: Literal["list"] = "list"
    data: list[Video]
    first_id: str | None
    last_id: str | None
    has_more: bool


class Deleted(BaseModel):
    """A video that is no more."""

    id: str
    object: Literal["video.deleted"] = "video.deleted"
    deleted: Literal[True] = True


class Health(BaseModel):
    """Whether the process answers, and what it serves."""

    status: str
    model: str | None
    workers: int


def _whole(time: float | None) -> int | None:
    return None if time is None else int(time)
