"""The options of a service: one schema for `sfv serve` and `create_app`. Imports nothing slow."""

import re
from pathlib import Path
from urllib.parse import urlsplit

from pydantic import Field, model_validator

from sfv.settings import Format, Settings, Speed
from sfv.web.ports import is_loopback

ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://(\[[0-9a-f:]+\]|[a-z0-9._-]+)(:\d+)?")
HOST = re.compile(r"[A-Za-z0-9._-]+|[0-9A-Fa-f:]*:[0-9A-Fa-f:.]*")


class ServeSettings(Speed):
    """How a service runs: where it listens, what it keeps, and how much it takes on."""

    model: str = "sticker"
    """Embedded model (sticker, sticker-teacher), a diffusers folder, or a hub id."""
    device: tuple[str, ...] = ("auto",)
    """One worker process for each: auto, cpu, cuda, cuda:0 cuda:1, mps."""
    data: Path = Path("sfv-service")
    """Folder of this server alone: the jobs' database, pictures, clips, scratch files."""
    database: str | None = None
    """Database of the jobs; SQLite in the data folder, or postgresql+psycopg://USER:PASSWORD@HOST/NAME, shared."""
    store: str | None = None
    """Where pictures and clips are kept: a folder, or s3://BUCKET/PREFIX; the data folder if not given."""
    queue: int = Field(default=64, ge=1, le=100_000)
    """Jobs that may wait; more are answered with 429 and Retry-After."""
    deadline: float = Field(default=3600, gt=0)
    """Seconds that a job may wait before it fails."""
    keep: float = Field(default=24 * 3600, gt=0)
    """Seconds that a finished job and its clip are kept."""
    max_batch: int = Field(default=0, ge=0, le=64)
    """Jobs of equal settings that are made together; 0: one on a CPU, four on a GPU."""
    max_wait: float = Field(default=0.02, ge=0, le=5)
    """Seconds that a batch waits for more jobs to fill it."""
    max_steps: int = Field(default=50, ge=1, le=1000)
    """Network calls that one job may ask for."""
    max_work: int = Field(default=25 * 576 * 1024, ge=1)
    """Frames x height x width that one job may ask for."""
    sync_work: int = Field(default=14 * 576 * 1024, ge=1)
    """Steps x frames x height x width up to which /v1/animate answers with the clip itself."""
    max_bytes: int = Field(default=20 * 2**20, ge=1024)
    """Bytes that a picture may have."""
    max_pixels: int = Field(default=25_000_000, ge=64)
    """Pixels that a picture may have, by its header."""
    keys: Path | None = None
    """File of hashed API keys (sfv serve --new-key NAME makes it); without it, anybody who reaches the port may ask."""
    origins: tuple[str, ...] = ()
    """Web origins whose pages may ask, such as https://example.org; none by default."""
    hosts: tuple[str, ...] = ()
    """Names by which a server without --keys on 127.0.0.1 is asked beside its own, such as that of a proxy in front."""
    grace: float = Field(default=30, ge=0, le=3600)
    """Seconds that running jobs have after SIGTERM; later they go back to the queue."""
    lease: float = Field(default=30, ge=0.5, le=3600)
    """Seconds after which the jobs of a machine that no longer answers go back to the queue."""
    stuck: float = Field(default=900, gt=0)
    """Seconds without a finished step after which a worker is killed and its job tried again, three times in all."""
    body_seconds: float = Field(default=60, gt=0)
    """Seconds within which a request must have arrived."""

    @model_validator(mode="after")
    def _agree(self) -> "ServeSettings":
        if self.database and not self.database.startswith(("sqlite:///", "postgresql+psycopg://")):
            raise ValueError("database must be sqlite:///FILE or postgresql+psycopg://USER:PASSWORD@HOST/NAME")
        if self.database and self.database.partition("?")[0] in ("sqlite:///", "sqlite:///:memory:"):
            raise ValueError("database names no file, and workers share one; write sqlite:///FILE")
        for origin in self.origins:
            if "*" in origin:
                raise ValueError(
                    f"origins: {origin} is no single origin; name each in full, such as https://example.org"
                )
            if not ORIGIN.fullmatch(origin):
                raise ValueError(
                    f"origins: {origin} is no origin, which browsers send as https://HOST or http://HOST:PORT in small "
                    "letters, with no / at the end; give it so"
                )
        for name in self.hosts:
            if not HOST.fullmatch(name):
                raise ValueError(f"hosts: {name} is no name of a host; give the name alone, without http:// and port")
        return self

    def known_hosts(self, host: str) -> tuple[str, ...] | None:
        """The names that a server answers to which listens at `host`; None for any.

        Without keys, whoever reaches this machine's own address may ask, but no page whose name merely leads there.
        """
        if self.keys is not None or not is_loopback(host):
            return None
        named = (urlsplit(origin).hostname or "" for origin in self.origins)
        return "localhost", "127.0.0.1", "::1", host, *self.hosts, *named


class Order(Settings):
    """What a client may ask for beside the picture: the settings of `sfv generate`, a model and a file format."""

    model: str | None = None
    """The model that this server runs (see /healthz); no other can be asked for."""
    format: Format | None = None
    """mp4, gif, webp, png or webm; webp if transparent, else mp4."""
