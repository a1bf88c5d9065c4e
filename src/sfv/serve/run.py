"""`sfv serve`: the application on a port, with an orderly end."""

import asyncio
import logging
import sys
from types import FrameType
from typing import Any

import uvicorn

from sfv.errors import SfvError
from sfv.serve.animator import Opener, open_animator
from sfv.serve.routes import App, create_app
from sfv.serve.settings import ServeSettings
from sfv.serve.silence import prompt_protocol
from sfv.system.files import allow_open_files
from sfv.web.ports import surely, url

CONNECTIONS = 2000
"""Open connections, beyond which the server answers 503 without looking."""


class _Server(uvicorn.Server):
    """Uvicorn that answers while it drains: on the first signal no jobs are taken on, what runs is finished, then it
    stops; on the second it stops at once."""

    def __init__(self, config: uvicorn.Config, app: App, where: str) -> None:
        super().__init__(config)
        self.app, self.where = app, where
        self.task: asyncio.Task[None] | None = None
        self.said = False

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

    async def on_tick(self, counter: int) -> bool:
        """Say the address once a worker has the model open; end once none can."""
        if self.app.service.supervisor.ready and not self.said:
            self.said = True
            said = f"sfv: {self.where} (description at /docs); Ctrl-C finishes what runs and stops"
            print(said, file=sys.stderr, flush=True)
        return await super().on_tick(counter) or bool(self.app.service.supervisor.broken)


def serve(settings: ServeSettings, host: str, port: int, opener: Opener = open_animator) -> None:
    """Serve until SIGTERM or Ctrl-C; port 0 is any that is free.

    SfvError if the port cannot be had, the service cannot start, or its model cannot be opened.
    """
    allow_open_files()
    logging.basicConfig(level=logging.INFO, format="sfv: %(message)s", stream=sys.stderr)
    logging.getLogger("python_multipart").setLevel(logging.ERROR)  # else any stranger's bad bodies fill the log
    with surely(host, port) as listener:
        app = create_app(settings, opener, settings.known_hosts(host))
        app.service.reported = True
        limits: dict[str, Any] = {"timeout_keep_alive": 20, "timeout_graceful_shutdown": 5}
        limits |= {"limit_concurrency": CONNECTIONS, "log_level": "warning"}
        limits |= {"http": prompt_protocol(settings.body_seconds)}
        config = uvicorn.Config(app, access_log=False, server_header=False, **limits)
        try:
            _Server(config, app, url(host, listener)).run([listener])
        except SystemExit as error:  # uvicorn has printed why
            raise SfvError("the service cannot start; the lines above say why") from error
        finally:
            app.service.lock.release()
    if app.service.supervisor.broken:
        raise SfvError(app.service.supervisor.broken)
