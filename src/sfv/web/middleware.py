"""What stands in front of every route: body limits and security headers, as plain ASGI; for service and page."""

import asyncio
import json
from collections.abc import Iterable

from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; media-src 'self' blob:; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "permissions-policy": "camera=(self), microphone=(), geolocation=()",
}
ASKED = "invalid_request_error"
"""Whose fault it is, as OpenAI's clients tell errors apart."""
FORM_ROOM = 64 * 1024
"""Bytes of a multipart body beside the picture: boundaries and the other fields."""


class BodyLimit:
    """Refuses a body of more than `limit` bytes (413), and one that takes longer than `seconds` to arrive (408).

    Bytes are counted as they come, whatever Content-Length says.
    """

    def __init__(self, app: ASGIApp, limit: int, seconds: float = 60) -> None:
        self.app, self.limit, self.seconds = app, limit, seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        meter = _Meter(self.limit, self.seconds, receive, send)
        if _promised(scope) > self.limit:
            meter.refuse(413)
            await meter.answer()
            return
        try:
            await self.app(scope, meter.receive, meter.send)
        except _TooLarge:
            await meter.answer()


class _TooLarge(Exception):
    """The body was refused in mid-stream."""


class _Meter:
    """One request's body counter; once it refuses, its answer stands in the place of the application's."""

    def __init__(self, limit: int, seconds: float, receive: Receive, send: Send) -> None:
        self.left, self.limit, self.seconds = limit, limit, seconds
        self.end = asyncio.get_running_loop().time() + seconds
        self.inner_receive, self.inner_send = receive, send
        self.status, self.started, self.whole, self.answered = 0, False, False, False

    async def receive(self) -> Message:
        if self.whole:  # what comes after the body is the client's leaving, which may take any time
            return await self.inner_receive()
        try:
            async with asyncio.timeout_at(self.end):
                message = await self.inner_receive()
        except TimeoutError as error:
            self.refuse(408)
            raise _TooLarge from error
        self.left -= len(message.get("body", b""))
        self.whole = not message.get("more_body", False)
        if self.left < 0:
            self.refuse(413)
            raise _TooLarge
        return message

    def refuse(self, status: int) -> None:
        self.status = status

    async def send(self, message: Message) -> None:
        if self.status and not self.started:
            await self.answer()
            return
        self.started = True
        await self.inner_send(message)

    async def answer(self) -> None:
        """One sentence, once; nothing if the application's own answer has begun."""
        if self.started or self.answered:
            return
        self.answered = True
        why = f"more than {self.limit:,} bytes" if self.status == 413 else f"not sent within {self.seconds:g} s"
        sentence = f"the body is {why}; send a smaller picture"
        body = json.dumps({"error": {"code": "body", "message": sentence, "type": ASKED}}).encode()
        headers = [(b"content-type", b"application/json"), (b"connection", b"close")]
        headers.append((b"content-length", str(len(body)).encode()))
        await self.inner_send({"type": "http.response.start", "status": self.status, "headers": headers})
        await self.inner_send({"type": "http.response.body", "body": body})


def _promised(scope: Scope) -> int:
    """Content-Length, or 0 where it is not given or no number."""
    given = dict(scope["headers"]).get(b"content-length", b"")
    return int(given) if given.isdigit() and len(given) < 19 else 0


class SecurityHeaders:
    """Adds HEADERS and a content policy to every answer that does not bring its own."""

    def __init__(self, app: ASGIApp, policy: str = POLICY) -> None:
        self.app = app
        self.headers = [(k.encode(), v.encode()) for k, v in HEADERS.items()]
        self.headers.append((b"content-security-policy", policy.encode()))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def adding(message: Message) -> None:
            if message["type"] == "http.response.start":
                present = {name.lower() for name, _ in message["headers"]}
                message["headers"] = [*message["headers"], *(h for h in self.headers if h[0] not in present)]
            await send(message)

        await self.app(scope, receive, adding if scope["type"] == "http" else send)


class SameOrigin:
    """Refuses (403) what a page of another origin sends, but for those named.

    Without CORS a browser hides the answer from such a page, yet a form's POST has been done by then.
    """

    def __init__(self, app: ASGIApp, origins: Iterable[str] = ()) -> None:
        self.app, self.origins = app, {origin.encode() for origin in origins}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] not in ("GET", "HEAD", "OPTIONS") and not self._known(scope):
            sentence = "a page of another site may not do this; its origin is not among those that the server allows"
            await _forbid(send, "origin", sentence)
            return
        await self.app(scope, receive, send)

    def _known(self, scope: Scope) -> bool:
        """Whether there is no origin (no browser), or our own, or one that was named."""
        headers = dict(scope["headers"])
        origin = headers.get(b"origin")
        return origin is None or origin in self.origins or origin.partition(b"://")[2] == headers.get(b"host")


class KnownHosts:
    """Refuses (403) requests for a name that is not among those given.

    A page of another site can have its own name lead to this machine (DNS rebinding); to a browser it then asks itself.
    """

    def __init__(self, app: ASGIApp, hosts: Iterable[str]) -> None:
        self.app, self.hosts = app, {host.lower().strip("[]") for host in hosts}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and self._asked(scope) not in (None, *self.hosts):
            sentence = "this server does not answer to the name in the header Host; ask it as localhost or 127.0.0.1"
            await _forbid(send, "host", f"{sentence}, or name it with --hosts")
            return
        await self.app(scope, receive, send)

    def _asked(self, scope: Scope) -> str | None:
        """The name in the header Host, without port and brackets; None without one, which no browser leaves out."""
        given = dict(scope["headers"]).get(b"host")
        if given is None:
            return None
        name = str(given, "latin-1").lower()
        return name.rpartition("]")[0].lstrip("[") if name.startswith("[") else name.partition(":")[0].rstrip(".")


async def _forbid(send: Send, code: str, sentence: str) -> None:
    body = json.dumps({"error": {"code": code, "message": sentence, "type": "permission_error"}}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 403, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def guarded(
    app: ASGIApp,
    body: int,
    origins: Iterable[str] = (),
    policy: str = POLICY,
    seconds: float = 60,
    hosts: Iterable[str] | None = None,
) -> ASGIApp:
    """The application behind body limit and headers, for its own pages and, by CORS, those of the `origins` named.

    `body`: bytes that the picture may have; the whole body may have FORM_ROOM more. `hosts`: the names that it answers
    to, if not to any.
    """
    allowed = tuple(origins)
    inner: ASGIApp = SameOrigin(BodyLimit(app, body + FORM_ROOM, seconds), allowed)
    if allowed:
        inner = CORSMiddleware(inner, allow_origins=allowed, allow_methods=["*"], allow_headers=["*"])
    return SecurityHeaders(inner if hosts is None else KnownHosts(inner, hosts), policy)
