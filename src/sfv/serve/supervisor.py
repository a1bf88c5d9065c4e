"""The worker processes of one server: started, listened to, started again when they die."""

import atexit
import multiprocessing
import secrets
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Any

from sfv.errors import UNGUARDED, DatabaseError
from sfv.serve.animator import ModelInfo, Opener
from sfv.serve.jobs import Jobs
from sfv.serve.settings import ServeSettings
from sfv.serve.worker import Duty, work
from sfv.system.threads import wait_politely

SLOWEST = 10.0
"""Longest pause before a worker that keeps dying is started again, seconds."""
Listener = Callable[[str, Any], None]
"""Called as (event, payload) from other threads: begun, started, progress, made, finished, failed, trouble, died."""


class Supervisor:
    """One process per device. All methods may be called from any thread."""

    def __init__(self, settings: ServeSettings, database: str, machine: str, opener: Opener, jobs: Jobs) -> None:
        self.settings, self.database, self.machine, self.opener, self.jobs = settings, database, machine, opener, jobs
        self.model_info: ModelInfo | None = None
        self.broken = ""
        """Why no worker can start; "" while all is well."""
        self.stopping = False
        self.slots = [_Slot(self, i, device) for i, device in enumerate(settings.device)]
        self.listener: Listener = lambda event, payload: None

    def start(self, listener: Listener) -> None:
        """Start all workers; returns at once."""
        self.listener = listener
        wait_politely()  # the workers inherit it
        atexit.register(self.kill)  # before multiprocessing would wait for workers that ignore SIGTERM
        for slot in self.slots:
            slot.thread.start()

    @property
    def ready(self) -> int:
        """Workers that have their model open."""
        return sum(slot.ready for slot in self.slots)

    @property
    def processes(self) -> list[int]:
        """Process ids of the workers that live."""
        return [p.pid for slot in self.slots if (p := slot.process) and p.pid and p.is_alive()]

    def wake(self) -> None:
        """There is something to do."""
        self._send_all("wake", None)

    def cancel(self, name: str) -> None:
        """Nobody wants this job's clip any longer."""
        self._send_all("cancel", name)

    def stop(self, grace: float) -> None:
        """Let every worker finish what it holds; after `grace` seconds kill it and give its jobs back."""
        self.stopping = True
        self._send_all("stop", None)
        end = time.monotonic() + grace
        for slot in self.slots:
            if slot.thread.ident is None:  # never started
                continue
            slot.thread.join(max(0.0, end - time.monotonic()))
            slot.kill()
            slot.thread.join(10)
        atexit.unregister(self.kill)

    def kill(self) -> None:
        """Stop at once; what runs is given back."""
        self.stopping = True
        for slot in self.slots:
            slot.kill()

    def _send_all(self, event: str, payload: Any) -> None:
        for slot in self.slots:
            slot.send(event, payload)


class _Slot:
    """One device: the process of the moment, and the thread that listens to it."""

    def __init__(self, supervisor: Supervisor, index: int, device: str) -> None:
        self.supervisor, self.index, self.device = supervisor, index, device
        self.process: SpawnProcess | None = None
        self.pipe: Connection | None = None
        self.begun = self.ready = self.busy = False
        self.last_message = 0.0
        self.lock = threading.Lock()
        self.thread = threading.Thread(target=self._run, name=f"sfv-worker-{index}", daemon=True)

    def send(self, event: str, payload: Any) -> None:
        with self.lock:
            try:
                if self.pipe:
                    self.pipe.send((event, payload))
            except OSError:  # it has just died; `_run` sees to it
                return

    def kill(self) -> None:
        if self.process and self.process.is_alive():
            self.process.kill()

    def _run(self) -> None:
        pause = 0.1
        while not self.supervisor.stopping and not self.supervisor.broken:
            lived = self._live()
            if self.supervisor.stopping or self.supervisor.broken:
                return
            pause = 0.1 if lived else min(2 * pause, SLOWEST)
            time.sleep(pause)

    def _live(self) -> bool:
        """One process from birth to death; whether it ever was ready."""
        name = f"{self.supervisor.machine}:{self.index}:{secrets.token_hex(4)}"
        duty = Duty(self.supervisor.settings, self.supervisor.database, self.device, name, self.supervisor.opener)
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=work, args=(duty, theirs), name=name, daemon=True)
        try:
            process.start()
        except RuntimeError:  # this process is a worker itself, and runs its script once more
            self.supervisor.broken = UNGUARDED
            return False
        theirs.close()
        with self.lock:
            self.process, self.pipe = process, ours
        if self.supervisor.stopping:
            self.send("stop", None)
        self._listen(ours, process)
        process.join()
        if not self.begun and process.exitcode and process.exitcode > 0:
            self.supervisor.broken = UNGUARDED
        lived, self.ready, self.busy = self.ready, False, False
        with self.lock:
            self.pipe = None
        ours.close()
        self._worker_died(name, process.exitcode)
        return lived

    def _listen(self, pipe: Connection, process: SpawnProcess) -> None:
        """Until the process has ended and its last message has arrived; one that is stuck is killed."""
        while True:
            ready = wait([pipe, process.sentinel], min(1.0, self.supervisor.settings.stuck))
            if not ready:
                if self.busy and time.monotonic() - self.last_message > self.supervisor.settings.stuck:
                    process.kill()
                continue
            if pipe not in ready:
                return
            try:
                self._receive(*pipe.recv())
            except (EOFError, OSError):
                return

    def _receive(self, event: str, payload: Any) -> None:
        self.begun = True
        self.last_message, self.busy = time.monotonic(), event == "started" or (self.busy and event != "turned")
        if event == "ready":
            self.supervisor.model_info, self.ready = payload, True
        elif event == "broken":
            self.supervisor.broken = payload
        self.supervisor.listener(event, payload)

    def _worker_died(self, name: str, code: int | None) -> None:
        """What a dead worker held is queued again; blamed on the jobs unless we killed it ourselves."""
        blame = code != 0 and not self.supervisor.stopping
        while True:
            try:
                if blame:
                    back = [job.id for job in self.supervisor.jobs.give_back_dead(name, self.supervisor.settings.keep)]
                else:
                    back = ["?"] * self.supervisor.jobs.give_back(name)
            except DatabaseError as error:
                self.supervisor.listener("trouble", error.detail)
                if self.supervisor.stopping:  # the lease gives them back
                    return
                time.sleep(1)
                continue
            break
        if blame:
            self.supervisor.listener("died", back)
        if back:
            self.supervisor.wake()
