"""A quick animator and real servers for the tests of the service."""

import asyncio
import contextlib
import io
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from multiprocessing import Pipe
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import torch
from PIL import Image

from sfv.generation.clip import Clip
from sfv.generation.sampling import Watch
from sfv.limits import ModelLimits
from sfv.media import fit
from sfv.media.pictures import Uint8Picture, Uint8Sticker
from sfv.serve.animator import ModelInfo
from sfv.serve.settings import ServeSettings
from sfv.settings import Defaults, Settings

POISON = 666
"""A job with this seed kills every worker that makes it."""
HANG = 667
"""A job with this seed never ends."""
STEP = 0.02
"""Seconds of a quick animator's step."""
OWN = Defaults(frames=4, height=32, width=32, steps=1, guidance=1)
LIMITS = ModelLimits("quick", OWN, 8, decoders=("small", "full"), enlarging=("small",), clear=True)
CARD = ModelInfo("0" * 16, LIMITS, 2)


class QuickAnimator:
    """Clips whose pixels tell picture, seed and frame; a step takes STEP seconds."""

    model_info = CARD

    def animate(
        self, pictures: Sequence[Uint8Picture | Uint8Sticker], settings: Settings, seeds: Sequence[int], watch: Watch
    ) -> list[Clip]:
        """The pictures, a little brighter from frame to frame."""
        for step in range(settings.steps or 1):
            time.sleep(STEP)
            self.die(seeds)
            watch(step + 1, settings.steps or 1)
        return [self.clip(p[..., :3].contiguous(), settings, s) for p, s in zip(pictures, seeds, strict=True)]

    def clip(self, picture: Uint8Picture, settings: Settings, seed: int) -> Clip:
        """One of them."""
        small = fit(picture, settings.height or 32, settings.width or 32)
        shades = torch.arange(settings.frames or 4)[:, None, None, None] * 8 + seed % 16
        frames = (small.int() // 2 + shades).clamp(0, 255).to(torch.uint8)
        wanted = settings.model_copy(update={"seed": seed})
        alpha = torch.full((*frames.shape[:3], 1), 200, dtype=torch.uint8) if settings.transparent else None
        return Clip(frames, torch.zeros(1, len(frames), 4, 4, 4), small, wanted, 1, {}, None, alpha)

    def die(self, seeds: Sequence[int]) -> None:
        """As a fault of the machine would have it."""
        if POISON in seeds:
            os.kill(os.getpid(), signal.SIGKILL)
        if HANG in seeds:
            time.sleep(1000)

    def note(self, clip: Clip) -> str:
        """The seed."""
        return f"seed {clip.settings.seed}"


def open_quick(settings: ServeSettings, device: str) -> QuickAnimator:
    """An opener, importable by name."""
    return QuickAnimator()


def png(seed: int = 0, side: int = 24) -> bytes:
    """A small picture."""
    out = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (side, side, 4), np.uint8)).save(out, "PNG")
    return out.getvalue()


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Live:
    """A server in a process of its own, on loopback; it can be killed and started again over the same data."""

    def __init__(self, data: Path, real: bool = False, **settings: object) -> None:
        self.data, self.settings, self.port = data, settings, free_port()
        self.log, self.real = data.parent / f"{data.name}.log", real
        self.url = f"http://127.0.0.1:{self.port}"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> "Live":
        """Until it is ready."""
        source = str(Path(__file__).parent.parent / "src")
        env = os.environ | {"PYTHONPATH": f"{Path(__file__).parent}:{source}", "OMP_NUM_THREADS": "1"}
        told = ServeSettings(data=self.data, **self.settings).model_dump_json()  # type: ignore[arg-type]
        command = [sys.executable, "-c", f"import serving; serving.main({told!r}, {self.port}, {self.real})"]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(command, env=env, stdout=log, stderr=log)
        end = time.monotonic() + 300
        while time.monotonic() < end and self.process.poll() is None:
            with contextlib.suppress(httpx.HTTPError):
                if httpx.get(f"{self.url}/readyz").status_code == 200:
                    return self
            time.sleep(0.05)
        self.process.kill()
        self.process.wait()
        raise AssertionError(self.log.read_text())

    def workers(self) -> list[int]:
        """Process ids of its workers."""
        assert self.process
        children = Path(f"/proc/{self.process.pid}/task").glob("*/children")
        found = [int(p) for c in children for p in c.read_text().split()]
        return [p for p in found if b"spawn_main" in Path(f"/proc/{p}/cmdline").read_bytes()]

    def unfinished(self) -> list[Path]:
        """Files of clips that were being written."""
        return list((self.data / "scratch").iterdir())

    def signal(self, number: int) -> int:
        """Send a signal to the server and wait for its end; its exit code."""
        assert self.process
        self.process.send_signal(number)
        return self.process.wait(120)

    def stop(self) -> None:
        """Whatever state it is in."""
        if self.process and self.process.poll() is None:
            self.signal(signal.SIGTERM)


@contextlib.contextmanager
def live(data: Path, real: bool = False, **settings: object) -> Iterator[Live]:
    """A running server, gone at the end."""
    server = Live(data, real, **settings)
    try:
        yield server.start()
    finally:
        server.stop()


def made_here(settings: ServeSettings, fields: dict[str, str]) -> tuple[dict[str, Any], bytes]:
    """One job of the service, taken up by a worker in this process: what it was accepted as, and its clip's file."""
    from sfv.serve.animator import open_animator
    from sfv.serve.routes import create_app
    from sfv.serve.worker import Duty, Worker

    animator = open_animator(settings, "cpu")
    app = create_app(settings, open_animator)
    service = app.service
    service.supervisor.model_info = animator.model_info

    async def asked() -> tuple[dict[str, Any], bytes]:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://sfv") as client:
            made = (await client.post("/v1/videos", files={"picture": png()}, data=fields)).json()
            duty = Duty(settings, service.database, "cpu", f"{service.machine}:0:test", open_animator)
            (settings.data / "scratch").mkdir(exist_ok=True)
            ours, theirs = Pipe()
            worker = Worker(duty, theirs, animator, service.store, service.jobs)
            for job, clip in worker._make(worker._claim()):
                worker._deliver(job, clip)
            ours.close()
            return made, (await client.get(f"/v1/videos/{made['id']}/content")).content

    try:
        return asyncio.run(asked())
    finally:
        service.stop()


def main(told: str, port: int, real: bool) -> None:
    """Body of a live server's process."""
    from sfv.serve.animator import open_animator
    from sfv.serve.run import serve

    serve(ServeSettings.model_validate_json(told), "127.0.0.1", port, open_animator if real else open_quick)
