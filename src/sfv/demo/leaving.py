"""Whether whoever asked is still there."""

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import Request


@asynccontextmanager
async def leaving(request: Request) -> AsyncIterator[threading.Event]:
    """An event that is set if the client leaves while the block runs; the request's body must have been read."""
    left = threading.Event()

    async def listen() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            continue
        left.set()

    listening = asyncio.create_task(listen())
    try:
        yield left
    finally:
        listening.cancel()
