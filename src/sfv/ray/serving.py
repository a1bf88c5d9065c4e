"""`sfv serve --ray`: the service's own application as a Ray Serve deployment whose replicas come and go with the load.

Every replica is a whole server with a worker process, and a data folder, of its own; jobs and clips are shared.
"""

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from sfv.errors import SfvError
from sfv.ray.cluster import cluster, share
from sfv.ray.settings import Spread
from sfv.serve.jobs import sqlite_url
from sfv.serve.routes import App, create_app
from sfv.serve.settings import ServeSettings
from sfv.web.ports import surely

NAME = "sfv"
WANTED = 2
"""Requests under way per replica; with more, replicas are added."""


def serve_on_ray(settings: ServeSettings, host: str, port: int, spread: Spread | None = None) -> None:
    """Serve until SIGTERM or Ctrl-C. SfvError if the port is taken, no Ray answers or the application cannot start."""
    spread = spread or Spread()
    if spread.ray_address is None:  # else it is a port of other machines
        surely(host, port).close()
    with cluster(spread) as ray, deployed(ray, settings, host, port, spread):
        stopped = threading.Event()
        before = signal.signal(signal.SIGTERM, lambda *_: stopped.set())
        print(f"sfv: http://{host}:{port} (description at /docs), by Ray; Ctrl-C stops", file=sys.stderr, flush=True)
        try:
            stopped.wait()
        finally:
            signal.signal(signal.SIGTERM, before)


@contextmanager
def deployed(ray: Any, settings: ServeSettings, host: str, port: int, spread: Spread) -> Iterator[None]:
    """The application, ready inside the block, and taken down after it; others of the cluster stay.

    SfvError where Serve runs already, at another address or with an application in the way.
    """
    from ray import serve
    from ray.serve.exceptions import RayServeException

    already = running()
    if already is not None:
        check_room(already, host, port)
    most, needs = share(ray, spread, settings.device[0])
    scaling = {"min_replicas": 1, "max_replicas": most, "target_ongoing_requests": WANTED}
    options: dict[str, Any] = {
        "name": NAME,
        "autoscaling_config": scaling,
        "max_ongoing_requests": settings.queue + 16,  # those beyond the queue get 429 from the application
        "graceful_shutdown_timeout_s": settings.grace + 10,
        "ray_actor_options": needs,
        "logging_config": {"enable_access_log": False, "log_level": "WARNING"},
    }
    application = serve.deployment(**options)(serve.ingress(Replica(settings, settings.known_hosts(host)))()).bind()
    try:
        serve.start(http_options={"host": host, "port": port})
        serve.run(application, name=NAME, logging_config={"log_level": "WARNING"})
        yield
    except (RuntimeError, RayServeException) as error:
        reason = str(error).strip().splitlines()[-1]
        raise SfvError(f"Ray Serve cannot run the service ({reason}); try it with `sfv serve` alone") from error
    finally:
        with suppress(RayServeException, TimeoutError):  # Serve is gone, or goes on taking it down
            serve.delete(NAME)
        if already is None and not set(serve.status().applications) - {NAME}:
            serve.shutdown()


@dataclass(frozen=True)
class Running:
    """Ray Serve as it runs in a cluster: where it listens, and the route of every application."""

    host: str
    port: int
    routes: dict[str, str | None]


def running() -> Running | None:
    """The cluster's Ray Serve; None if there is none."""
    from ray.serve.context import _get_global_client  # no public call tells address and routes

    client = _get_global_client(raise_if_no_controller_running=False)
    if client is None:
        return None
    found = client.get_serve_details()["applications"]
    routes = {name: application["route_prefix"] for name, application in found.items()}
    return Running(client.http_config.host, client.http_config.port, routes)


def check_room(already: Running, host: str, port: int) -> None:
    """SfvError if the application would listen elsewhere than asked, or take another's place."""
    if (already.host, already.port) != (host, port):
        raise SfvError(
            f"{host}:{port}: Ray Serve runs in this cluster already and listens on {already.host}:{already.port} for "
            f"all its applications; give --host {already.host} --port {already.port}"
        )
    if NAME in already.routes:
        raise SfvError(
            f"this cluster has an application {NAME} already, of another `sfv serve --ray`; stop that one, or take "
            f'away what a killed one left, by ray.serve.delete("{NAME}")'
        )
    if other := next((name for name, route in already.routes.items() if route == "/"), None):
        raise SfvError(
            f"the route / of this cluster's Ray Serve belongs to the application {other}, and the service needs it; "
            "give that one another route_prefix, or use a cluster of its own"
        )


class Replica:
    """The application as Ray carries it to a replica: settings alone, until the replica's life begins."""

    def __init__(self, settings: ServeSettings, hosts: tuple[str, ...] | None = None) -> None:
        """Jobs and clips lie where all replicas see them."""
        data = settings.data.absolute()
        data.mkdir(parents=True, exist_ok=True)
        shared = {
            "data": data,
            "database": settings.database or sqlite_url(data),
            "store": shared_store(settings.store, data),
            "keys": settings.keys and settings.keys.absolute(),
        }
        self.settings, self.hosts = settings.model_copy(update=shared), hosts
        self.app: App | None = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """ASGI; the first call is the lifespan's."""
        if self.app is None:
            self.app = create_app(of_replica(self.settings), hosts=self.hosts)
        await self.app(scope, receive, send)


def shared_store(where: str | None, data: Path) -> str:
    """A store that every replica finds: a folder's name in full."""
    return where if where and "://" in where else str(Path(where).absolute() if where else data / "files")


def of_replica(common: ServeSettings) -> ServeSettings:
    """A replica's settings: the first data folder that no other replica on this machine uses."""
    for number in range(10_000):
        data = common.data / f"replica-{number}"
        data.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(data / "server.lock", timeout=0):
                return common.model_copy(update={"data": data})
        except Timeout:
            continue
    raise SfvError(f"{common.data} has no folder that is free for a replica; name another --data")
