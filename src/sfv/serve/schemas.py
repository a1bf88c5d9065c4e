"""What the service says: the shapes of its JSON, a file by ranges, and a page of its own documentation."""

import base64
import hashlib
import html
import re
from collections.abc import Iterator
from typing import Any, Literal

from pydantic import BaseModel, Field
from starlette.responses import HTMLResponse, Response, StreamingResponse

from sfv.serve.jobs import Job
from sfv.serve.store import Store

TYPES = {"mp4": "video/mp4", "gif": "image/gif", "webp": "image/webp", "png": "image/png"}
PIECE = 1 << 20
"""Bytes of a file that are held in memory at once for one client."""


class Why(BaseModel):
    """What went wrong: a word for programs and a sentence for people."""

    code: str
    message: str


class Problem(BaseModel):
    """Body of every answer of 400 and above."""

    error: Why


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
    format: Literal["mp4", "gif", "webp", "png"]
    settings: dict[str, Any]
    """Every parameter, filled."""
    error: Why | None

    @classmethod
    def of(cls, job: Job) -> "Video":
        """What a client is told of a job."""
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
                "size": "x".join(str(int(side or 0) * wanted.enlarge) for side in (wanted.width, wanted.height)),
                "seconds": f"{(wanted.frames or 0) / (wanted.fps or 7):.2f}",
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


def file_answer(store: Store, job: Job, wanted: str | None) -> Response:
    """A clip, or the range of it that is asked for (RFC 9110, one range; a header that is none is passed over)."""
    span = byte_range(wanted, job.size)
    headers = {"accept-ranges": "bytes", "etag": f'"{job.id}"', "cache-control": "private, max-age=3600"}
    if span is None:
        return Response(status_code=416, headers=headers | {"content-range": f"bytes */{job.size}"})
    start, stop = span
    headers |= {"content-length": str(stop - start)}
    headers |= {"content-disposition": f'inline; filename="{job.id}.{job.format}"'}
    if (start, stop) != (0, job.size):
        headers |= {"content-range": f"bytes {start}-{stop - 1}/{job.size}"}
    status = 206 if "content-range" in headers else 200
    first = store.read(job.clip_key, start, min(PIECE, stop - start))  # a missing file is told before any header is
    if len(first) == stop - start:
        return Response(first, status, headers, TYPES[job.format])
    return StreamingResponse(_pieces(store, job, first, start, stop), status, headers, TYPES[job.format])


def byte_range(wanted: str | None, size: int) -> tuple[int, int] | None:
    """[start, stop) of a Range header; everything without one; None for one that cannot be satisfied."""
    found = re.fullmatch(r"bytes=(\d{0,18})-(\d{0,18})", wanted or "")
    if not found or not any(found.groups()):
        return 0, size
    first, last = found.groups()
    if not first:
        start, stop = max(0, size - int(last)), size
    else:
        start, stop = int(first), min(size, int(last) + 1 if last else size)
        if last and int(last) < start:
            return 0, size
    return (start, stop) if start < stop else None


def _pieces(store: Store, job: Job, first: bytes, start: int, stop: int) -> Iterator[bytes]:
    yield first
    for at in range(start + PIECE, stop, PIECE):
        yield store.read(job.clip_key, at, min(PIECE, stop - at))


STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:52rem;margin:2rem auto;padding:0 1rem;color-scheme:light dark}"
    "code,pre{font-family:ui-monospace,monospace}pre{overflow:auto}section{border-top:1px solid;margin-top:1rem}"
    "td{padding:.1rem 1rem .1rem 0;vertical-align:top}"
)


def docs_page(schema: dict[str, Any]) -> HTMLResponse:
    """The OpenAPI description as one page without scripts or foreign assets."""
    parts = [f"<h1>{html.escape(schema['info']['title'])} {html.escape(schema['info']['version'])}</h1>"]
    parts.append(f"<p>{html.escape(schema['info']['description'])} <a href='openapi.json'>openapi.json</a></p>")
    for path, methods in schema["paths"].items():
        parts += [_section(path, method, told, schema) for method, told in methods.items()]
    digest = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; frame-ancestors 'none'; base-uri 'none'"
    page = f"<!doctype html><html lang=en><meta charset=utf-8><title>sfv serve</title><style>{STYLE}</style>"
    return HTMLResponse(page + "".join(parts), headers={"content-security-policy": policy})


def _section(path: str, method: str, told: dict[str, Any], schema: dict[str, Any]) -> str:
    rows = [(p["name"], p["schema"], p.get("description", "")) for p in told.get("parameters", ())]
    for content in told.get("requestBody", {}).get("content", {}).values():
        rows += [(n, s, s.get("description", "")) for n, s in content["schema"]["properties"].items()]
    table = "".join(f"<tr><td><code>{html.escape(n)}</code><td>{_kind(s)}<td>{html.escape(d)}" for n, s, d in rows)
    codes = ", ".join(f"{code} {html.escape(r['description'])}" for code, r in told["responses"].items())
    about = html.escape(told.get("description", told.get("summary", "")))
    head = f"<section><h2><code>{method.upper()} {html.escape(path)}</code></h2><p>{about}"
    return f"{head}<table>{table}</table><p>Answers: {codes}</section>"


def _kind(schema: dict[str, Any]) -> str:
    if "enum" in schema:
        return html.escape(" | ".join(map(str, schema["enum"])))
    bounds = [f"{k} {schema[k]}" for k in ("minimum", "maximum") if k in schema]
    return html.escape(" ".join([str(schema.get("format", schema.get("type", ""))), *bounds]))
