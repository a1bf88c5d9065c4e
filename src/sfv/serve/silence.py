"""Connections on which nothing is asked are closed: uvicorn does so only after an answer, not before a request."""

import asyncio
from typing import Any

from uvicorn.protocols.http.auto import AutoHTTPProtocol


class Prompt(asyncio.Protocol):
    """Half of a protocol of uvicorn's, whose other half has `loop` and `cycle`, the request whose head came last.

    It looks every `seconds`: a connection on which none is under way, and none has come since the last look, is closed.
    """

    seconds = 60.0
    loop: asyncio.AbstractEventLoop
    cycle: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to look."""
        super().connection_made(transport)
        self.carried, self.last = transport, None
        self.looking = self.loop.call_later(self.seconds, self._look)

    def connection_lost(self, exc: Exception | None) -> None:
        """Look no more."""
        self.looking.cancel()
        super().connection_lost(exc)

    def _look(self) -> None:
        if self.cycle is self.last and (self.cycle is None or self.cycle.response_complete):
            self.carried.close()
            return
        self.last = self.cycle
        self.looking = self.loop.call_later(self.seconds, self._look)


def prompt_protocol(seconds: float, base: type[asyncio.Protocol] = AutoHTTPProtocol) -> type[asyncio.Protocol]:
    """Uvicorn's protocol, on which a request must have begun `seconds` after its connection, or after the one before
    (or after twice that)."""
    return type("PromptProtocol", (Prompt, base), {"seconds": seconds})
