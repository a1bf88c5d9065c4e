"""`sfv serve`: the application on a port, with an orderly end."""

import asyncio
import logging
import socket
import sys
from types import FrameType

import uvicorn

from sfv.errors import SfvError
from sfv.serve.animator import Opener, open_animator
from sfv.serve.routes import App, create_app
from sfv.serve.settings import ServeSettings

CONNECTIONS = 2000
"""Open connections, beyond which the server answers 503 without looking."""


class _Server(uvicorn.Server):
    """Uvicorn that answers while it drains: on the first signal no jobs are taken on, what runs is finished, then it
    stops; on the second it stops at once."""

    def __init__(self, config: uvicorn.Config, app: App) -> None:
        super().__init__(config)
        self.app = app
        self.task: asyncio.Task[None] | None = None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self.app.service.draining or not self.started:
            self.app.service.supervisor.kill()
            super().handle_exit(sig, frame)
            return
        self.app.service.draining = True
        loop = self.app.service.events.loop
        assert loop is not None
        loop.call_soon_threadsafe(self._drain)

    def _drain(self) -> None:
        self.task = asyncio.get_running_loop().create_task(self._drained())

    async def _drained(self) -> None:
        print("sfv: finishing what runs; what waits stays in the database", file=sys.stderr, flush=True)
        service = self.app.service
        await asyncio.to_thread(service.supervisor.stop, service.settings.grace)
        await asyncio.sleep(0.5)  # for the answers that the last clips set free
        self.should_exit = True

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Say the address once it is listened on."""
        await super().startup(sockets)
        if self.started:
            where = f"http://{self.config.host}:{self.config.port}"
            print(
                f"sfv: {where} (description at /docs); Ctrl-C finishes what runs and stops", file=sys.stderr, flush=True
            )

    async def on_tick(self, counter: int) -> bool:
        return await super().on_tick(counter) or bool(self.app.service.supervisor.broken)


def serve(settings: ServeSettings, host: str, port: int, opener: Opener = open_animator) -> None:
    """Serve until SIGTERM or Ctrl-C. SfvError if the service cannot start, or its model cannot be opened."""
    logging.basicConfig(level=logging.INFO, format="sfv: %(message)s", stream=sys.stderr)
    logging.getLogger("python_multipart").setLevel(logging.ERROR)  # else any stranger's bad bodies fill the log
    app = create_app(settings, opener)
    options = {"access_log": False, "log_level": "warning", "timeout_keep_alive": 20, "timeout_graceful_shutdown": 5}
    config = uvicorn.Config(app, host, port, limit_concurrency=CONNECTIONS, server_header=False, **options)  # type: ignore[arg-type]
    try:
        _Server(config, app).run()
    except SystemExit as error:  # the port is taken; uvicorn has printed it
        raise SfvError(f"{host}:{port} cannot be listened on; name another --port") from error
    finally:
        app.service.lock.release()
    if app.service.supervisor.broken:
        raise SfvError(app.service.supervisor.broken)
