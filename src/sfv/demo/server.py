"""`sfv demo`: the page on a port of this machine, opened in its browser."""

import errno
import socket
import webbrowser
from types import FrameType

import uvicorn

from sfv.demo.app import MODELS, create_demo
from sfv.demo.session import MAX_STEPS, Studio, row_of
from sfv.errors import SfvError, reason
from sfv.settings import Speed
from sfv.web.ports import is_loopback, take, url

PORTS = 50
"""Ports that are tried, from the one asked for."""


class _Server(uvicorn.Server):
    """Uvicorn that has the clip under way dropped on SIGTERM and Ctrl-C."""

    def __init__(self, config: uvicorn.Config, studio: Studio) -> None:
        super().__init__(config)
        self.studio = studio

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self.studio.ending.set()
        super().handle_exit(sig, frame)


def run_demo(
    models: tuple[str, ...] = MODELS,
    host: str = "127.0.0.1",
    port: int = 7860,
    device: str = "auto",
    speed: Speed | None = None,
    browser: bool = True,
    max_steps: int = MAX_STEPS,
) -> None:
    """Serve the page until Ctrl-C, and open it in a browser once the model is warm. SfvError if no port is free."""
    rows = [row_of(m, speed or Speed()) for m in models]  # a wrong name is refused before a port is taken
    listener = listen(host, port)
    where = url("localhost" if host in ("0.0.0.0", "::") else host, listener)
    hosts = ("localhost", "127.0.0.1", host) if is_loopback(host) else ("*",)

    def ready(studio: Studio) -> None:
        print(f"sfv: {studio.trouble}" if studio.trouble else f"ready after {studio.took:.1f} s", flush=True)
        if browser and not studio.trouble:
            webbrowser.open(where)

    app = create_demo(models, device, speed, hosts, ready, max_steps)
    if not is_loopback(host):
        print(f"warning: anybody who reaches {host} can use this page and this machine's time; it has no login")
    print(f"{where}  (loading {rows[0].name}; Ctrl-C stops)", flush=True)
    config = uvicorn.Config(app, log_level="warning", server_header=False, timeout_graceful_shutdown=2)
    _Server(config, app.state.studio).run(sockets=[listener])


def listen(host: str, port: int) -> socket.socket:
    """A socket bound to the port, or the next free one of the 50 after it."""
    why = ""
    for at in range(port, min(port + PORTS, 65536)) if port else (0,):
        try:
            return take(host, at)
        except OSError as error:
            why = reason(error)
            if error.errno not in (errno.EADDRINUSE, errno.EACCES):  # no other port would do
                break
    raise SfvError(f"no port from {port} on can be used at {host} ({why}); name another with --port or --host")
