"""A stored clip over HTTP, whole or in ranges (RFC 9110)."""

import re
from collections.abc import Iterator, Mapping

from starlette.responses import Response, StreamingResponse

from sfv.serve.errors import problem
from sfv.serve.job import Job
from sfv.serve.store import Store

MEDIA_TYPES = {"mp4": "video/mp4", "gif": "image/gif", "webp": "image/webp", "png": "image/png", "webm": "video/webm"}
PIECE = 1 << 20
"""Bytes of a file that are held in memory at once for one client."""


def file_answer(store: Store, job: Job, asked: Mapping[str, str]) -> Response:
    """A clip, or the range of it that is asked for (RFC 9110, one range; a header that is none is passed over).

    `asked`: the request's headers, of which Range, If-Range and If-None-Match count.
    """
    tag = f'"{job.id}"'
    headers = {"accept-ranges": "bytes", "etag": tag, "cache-control": "private, max-age=3600"}
    if known(asked.get("if-none-match", ""), tag):
        return Response(status_code=304, headers=headers)
    span = byte_range(asked.get("range") if asked.get("if-range", tag) == tag else None, job.size)
    if span is None:
        sentence = f"the clip has {job.size:,} bytes, and the header Range asks for none of them; leave it out"
        return problem(416, "range", sentence, headers | {"content-range": f"bytes */{job.size}"})
    start, stop = span
    headers |= {"content-length": str(stop - start)}
    headers |= {"content-disposition": f'inline; filename="{job.id}.{job.format}"'}
    if (start, stop) != (0, job.size):
        headers |= {"content-range": f"bytes {start}-{stop - 1}/{job.size}"}
    status = 206 if "content-range" in headers else 200
    first = store.read(job.clip_key, start, min(PIECE, stop - start))  # a missing file raises before any header is
    if len(first) == stop - start:
        return Response(first, status, headers, MEDIA_TYPES[job.format])
    return StreamingResponse(_pieces(store, job, first, start, stop), status, headers, MEDIA_TYPES[job.format])


def known(none_match: str, tag: str) -> bool:
    """Whether a header If-None-Match names what the tag is of: then the client has it."""
    tags = [one.strip().removeprefix("W/") for one in none_match.split(",")]
    return tags == ["*"] or tag in tags


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
