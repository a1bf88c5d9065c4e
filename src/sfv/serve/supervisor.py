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

from sfv.errors import UNGUARDED, DatabaseError, reason
from sfv.serve.animator import ModelInfo, Opener
from sfv.serve.jobs import Jobs
from sfv.serve.settings import ServeSettings
from sfv.serve.worker import Duty, work
from sfv.system.threads import wait_politely

SHORTEST, SLOWEST = 0.1, 10.0
"""Seconds before a worker that has died is started again; more for one that keeps dying."""
QUIET = 90.0
"""Seconds after which a worker that has nothing to do, and does not say so, is taken for stuck: more than the longest
wait for a database that does not answer."""
Listener = Callable[[str, Any], None]
"""Called as (event, payload) from other threads: begun, started, progress, made, finished, failed, trouble, broken,
died, returned (with the jobs that a dead worker held)."""


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
    def living(self) -> list[str]:
        """Names of the workers that were heard of within a lease's time."""
        since = time.monotonic() - self.settings.lease
        return [p.name for slot in self.slots if (p := slot.process) and slot.pipe and slot.heard_at > since]

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
        self.last_message = self.heard_at = 0.0
        """When it last had something to say, and when it was last heard at all."""
        self.pause = SHORTEST / 2
        """Seconds before the next process; doubled by every one that never was ready."""
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
        """A worker, and the next when it has died, for as long as the server lives: no error ends that."""
        while not self._over():
            self.pause = min(2 * self.pause, SLOWEST)
            try:
                self._live()
            except Exception as error:  # for want of files, processes or memory: that passes
                said = f"a worker for {self.device} cannot be started or heard ({reason(error)}); it is tried again"
                self.supervisor.listener("trouble", said)
            end = time.monotonic() + self.pause
            while not self._over() and time.monotonic() < end:
                time.sleep(min(0.1, self.pause))

    def _over(self) -> bool:
        return self.supervisor.stopping or bool(self.supervisor.broken)

    def _live(self) -> None:
        """One process from birth to death."""
        name = f"{self.supervisor.machine}:{self.index}:{secrets.token_hex(4)}"
        duty = Duty(self.supervisor.settings, self.supervisor.database, self.device, name, self.supervisor.opener)
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        with ours:
            with theirs:
                process = context.Process(target=work, args=(duty, theirs), name=name, daemon=True)
                try:
                    process.start()
                except RuntimeError:  # this process is a worker itself, and runs its script once more
                    self.supervisor.broken = UNGUARDED
                    return
            with self.lock:
                self.process, self.pipe = process, ours
            try:
                if self.supervisor.stopping:
                    self.send("stop", None)
                self._listen(ours, process)
            except Exception:  # no worker goes on unheard
                process.kill()
                raise
            finally:
                self._bury(process, name)

    def _bury(self, process: SpawnProcess, name: str) -> None:
        process.join()
        if not self.begun and process.exitcode and process.exitcode > 0:
            self.supervisor.broken = UNGUARDED
        self.ready = self.busy = False
        with self.lock:
            self.pipe = None
        self._worker_died(name, process.exitcode)

    def _listen(self, pipe: Connection, process: SpawnProcess) -> None:
        """Until the process has ended and its last message has arrived; one that is stuck is killed."""
        while True:
            ready = wait([pipe, process.sentinel], min(1.0, self.supervisor.settings.stuck))
            if ready and pipe not in ready:
                return
            try:
                if ready:
                    self._receive(*pipe.recv())
            except (EOFError, OSError):
                return
            if self._silent():
                process.kill()

    def _silent(self) -> bool:
        """Whether it has shown nothing of what it must have done by now; opening a model may take any time."""
        longest = self.supervisor.settings.stuck if self.busy else QUIET
        return (self.busy or self.ready) and time.monotonic() - self.last_message > longest

    def _receive(self, event: str, payload: Any) -> None:
        self.begun, self.heard_at = True, time.monotonic()
        if event == "beat":  # its process lives; what it works on may still be stuck
            return
        self.last_message, self.busy = time.monotonic(), event == "started" or (self.busy and event != "turned")
        if event == "idle":
            return
        if event == "ready":
            self.supervisor.model_info, self.ready, self.pause = payload, True, SHORTEST
        elif event == "broken" and self.supervisor.model_info is None:
            self.supervisor.broken = payload
        elif event == "broken":  # it could be opened before, or can be elsewhere: the service goes on
            event, payload = "trouble", f"{self.device}: {payload}; it is tried again every {SLOWEST:g} s"
            self.pause = SLOWEST
        self.supervisor.listener(event, payload)

    def _worker_died(self, name: str, code: int | None) -> None:
        """What a dead worker held is queued again; blamed on the jobs unless we killed it ourselves."""
        blame = code != 0 and not self.supervisor.stopping
        while True:
            try:
                if blame:
                    jobs = self.supervisor.jobs.give_back_dead(name, self.supervisor.settings.keep)
                    back = [job.id for job in jobs]
                else:
                    jobs, back = [], ["?"] * self.supervisor.jobs.give_back(name)
            except DatabaseError as error:
                self.supervisor.listener("trouble", error.detail)
                if self.supervisor.stopping:  # the lease gives them back
                    return
                time.sleep(1)
                continue
            break
        if blame:
            self.supervisor.listener("died", back)
            self.supervisor.listener("returned", jobs)
        if back:
            self.supervisor.wake()
