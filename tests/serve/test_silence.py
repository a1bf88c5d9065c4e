"""Connections on which nothing is asked are closed; those that ask or are answered are not."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from sfv.serve.silence import prompt_protocol
from sfv.web.ports import take

SECONDS = 0.1
ASK = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


async def late(scope: Any, receive: Any, send: Any) -> None:
    """Answers after three looks."""
    await asyncio.sleep(5 * SECONDS)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


@asynccontextmanager
async def connected(base: type[asyncio.Protocol]) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    config = uvicorn.Config(late, http=prompt_protocol(SECONDS, base), lifespan="off", timeout_keep_alive=60)
    config.load()
    state = ServerState()

    def protocol() -> asyncio.Protocol:
        return config.http_protocol_class(config=config, server_state=state, app_state={})  # type: ignore[call-arg]

    with take("127.0.0.1", 0) as listener:
        server = await asyncio.get_running_loop().create_server(protocol, sock=listener)
        reader, writer = await asyncio.open_connection(*listener.getsockname())
        try:
            yield reader, writer
        finally:
            writer.close()
            server.close()


@pytest.mark.parametrize("base", [H11Protocol, HttpToolsProtocol])
@pytest.mark.parametrize("sent", [b"", ASK[:-2], ASK[:3]], ids=["silent", "half a head", "half a word"])
def test_a_connection_without_a_request_is_closed(base: type[asyncio.Protocol], sent: bytes) -> None:
    async def ends() -> bytes:
        async with connected(base) as (reader, writer):
            writer.write(sent)
            return await asyncio.wait_for(reader.read(), 60)

    assert asyncio.run(ends()) == b""


@pytest.mark.parametrize("base", [H11Protocol, HttpToolsProtocol])
def test_an_answer_is_waited_for_and_half_a_request_after_it_is_not(base: type[asyncio.Protocol]) -> None:
    async def ends() -> bytes:
        async with connected(base) as (reader, writer):
            writer.write(ASK)
            await asyncio.wait_for(reader.readuntil(b"ok"), 60)
            writer.write(ASK[:-2])
            return await asyncio.wait_for(reader.read(), 60)

    assert asyncio.run(ends()) == b""
