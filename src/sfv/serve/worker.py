"""A worker process: claims jobs, makes clips, and writes each file while the next clip is made.

It knows its server by one pipe. When that ends, the server is dead and the worker ends at once; what it was making is
given back by the server's next start, or by the lease.
"""

import io
import os
import signal
import threading
import time
from collections.abc import Callable
from concurrent import futures
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch

from sfv.errors import DatabaseError, SfvError, StoreError
from sfv.generation.clip import Clip
from sfv.media import read_picture, read_sticker, write_clip
from sfv.media.pictures import AnyPicture
from sfv.serve.ahead import Ahead
from sfv.serve.animator import Animator, Opener
from sfv.serve.job import Job
from sfv.serve.jobs import Jobs
from sfv.serve.settings import ServeSettings
from sfv.serve.store import Store, open_store
from sfv.settings import Settings
from sfv.system.memory import keep_memory

IDLE = 0.5
"""Seconds between two looks at the queue of a worker that nobody wakes: jobs may come from another machine."""
PAUSE = 5.0
"""Seconds that a job waits whose clip could not be kept, and the worker with it."""
REPORT_EVERY = 0.25
"""Seconds between two notes of a job's progress."""


@dataclass(frozen=True)
class Duty:
    """What a worker process is given when it starts."""

    settings: ServeSettings
    database: str
    device: str
    name: str
    opener: Opener


class Cancelled(Exception):
    """Nobody wants the clips that are being made."""


def work(duty: Duty, pipe: Connection) -> None:
    """Body of a worker process: open the model, send its facts to the server, work until the order to stop."""
    for number in (signal.SIGINT, signal.SIGTERM):  # sent to the whole group; the server alone decides
        signal.signal(number, signal.SIG_IGN)
    keep_memory()
    if not _sent(pipe, "begun", None):
        return
    try:
        animator = duty.opener(duty.settings, duty.device)
        opened = _opened(duty, pipe)
    except SfvError as error:
        _sent(pipe, "broken", str(error))
        return
    if opened and _sent(pipe, "ready", animator.model_info):
        Worker(duty, pipe, animator, *opened).run()


def _opened(duty: Duty, pipe: Connection) -> tuple[Store, Jobs] | None:
    """Store and jobs, for however long they do not answer; None if the server stops or ends meanwhile."""
    pause = 0.1
    while True:
        try:
            return open_store(duty.settings.store, duty.settings.data), Jobs(duty.database, patient=False)
        except (DatabaseError, StoreError) as error:
            why = error.detail if isinstance(error, DatabaseError) else str(error)
        if not _sent(pipe, "trouble", why) or not _rested(pipe, pause):
            return None
        pause = min(2 * pause, PAUSE)


def _rested(pipe: Connection, seconds: float) -> bool:
    """Pause; False as soon as the server orders to stop, or has ended."""
    end = time.monotonic() + seconds
    try:
        while (left := end - time.monotonic()) > 0:
            if pipe.poll(left) and pipe.recv()[0] == "stop":
                return False
    except (EOFError, OSError):
        return False
    return True


def _sent(pipe: Connection, event: str, payload: Any) -> bool:
    """Send to the server; False if it has ended, with which the worker ends, too."""
    try:
        pipe.send((event, payload))
    except OSError:
        return False
    return True


class Worker:
    """One device's loop."""

    def __init__(self, duty: Duty, pipe: Connection, animator: Animator, store: Store, jobs: Jobs) -> None:
        self.duty, self.pipe, self.animator, self.store, self.jobs = duty, pipe, animator, store, jobs
        self.settings = duty.settings
        self.most = duty.settings.max_batch or animator.model_info.batch
        self.scratch = duty.settings.data / "scratch"
        self.awake, self.stopping = threading.Event(), threading.Event()
        self.speaking = threading.Lock()
        self.held: set[str] = set()
        self.cancelled: set[str] = set()
        self.ahead = Ahead(lambda: jobs.coming(animator.model_info.name, self.most), self._read)
        self.reported_at = self.said_idle_at = 0.0

    def run(self) -> None:
        """Until the order to stop: then what is being made is finished, and nothing more is claimed."""
        for listener in (self._listen, self._beat):
            threading.Thread(target=listener, daemon=True).start()
        with ThreadPoolExecutor(1) as writer:
            writing: list[Future[None]] = []
            while not self.stopping.is_set():
                self.awake.clear()
                batch = self._surely(self._claim)
                self._prepare(batch, writing)
                clips = self._make(batch) if batch else []
                if batch:
                    self._send("turned", None)
                self._await(writing)
                writing = [writer.submit(self._deliver, job, clip) for job, clip in clips]
                if not batch:
                    self._say_idle()
                    self.awake.wait(IDLE)
        self.ahead.close()
        self.jobs.close()

    def _prepare(self, batch: list[Job], writing: list[Future[None]]) -> None:
        """Beside a batch the next pictures are read, unless one of its jobs has cost a life: then it may end this
        process, too, what is made is written first, and no other picture may be to blame."""
        if any(job.crashes for job in batch):
            futures.wait(writing)
        if batch and not any(job.crashes for job in batch):
            self.ahead.begin(batch)
        else:
            self.ahead.forget()

    def _await(self, writing: list[Future[None]]) -> None:
        """Until the files are kept; to wait for a slow store is not to be stuck."""
        while futures.wait(writing, IDLE).not_done:
            self._say_idle()
        for done in writing:
            done.result()

    def _say_idle(self) -> None:
        if time.monotonic() - self.said_idle_at > 1:
            self.said_idle_at = time.monotonic()
            self._send("idle", None)

    def _listen(self) -> None:
        """Messages of the server; when it ends, this process ends."""
        try:
            while True:
                event, payload = self.pipe.recv()
                if event == "cancel" and payload in self.held:
                    self.cancelled.add(payload)
                if event == "stop":
                    self.stopping.set()
                self.awake.set()
        except (EOFError, OSError):
            os._exit(1)

    def _beat(self) -> None:
        """Renew the leases; what is ours no longer was cancelled."""
        while True:
            time.sleep(self.settings.lease / 3)
            before = set(self.held)
            self._send("beat", None)
            try:
                mine = self.jobs.beat(self.duty.name, self.settings.lease)
            except DatabaseError:  # the lease is long enough for the next beat to save it
                continue
            self.cancelled |= (before - mine) & self.held

    def _surely(self, action: Callable[[], Any]) -> Any:
        """What the action gives; while the database does not answer, it is tried again, and no job is dropped."""
        pause = 0.1
        while True:
            try:
                return action()
            except DatabaseError as error:
                self._send("trouble", error.detail)
                time.sleep(pause)
                pause = min(2 * pause, PAUSE)

    def _send(self, event: str, payload: Any) -> None:
        try:
            with self.speaking:
                self.pipe.send((event, payload))
        except OSError:  # the server is gone; `_listen` ends the process
            time.sleep(1)

    def _claim(self) -> list[Job]:
        """Jobs that wait and fit together; a batch that is not full waits a moment for more."""
        model, lease = self.animator.model_info.name, self.settings.lease
        batch = self.jobs.claim(self.duty.name, model, self.most, lease)
        self.held |= {job.id for job in batch}
        if batch and len(batch) < self.most and not batch[0].crashes and self.settings.max_wait:
            time.sleep(self.settings.max_wait)
            batch += self.jobs.claim(self.duty.name, model, self.most - len(batch), lease, batch[0].batch_key)
            self.held |= {job.id for job in batch}
        if batch:
            self._send("started", [job.id for job in batch])
        return batch

    def _make(self, batch: list[Job]) -> list[tuple[Job, Clip]]:
        """Clips of what could be made; the rest has failed, each job with its sentence."""
        ready = [(job, picture) for job in batch if (picture := self._picture(job)) is not None]
        return self._made(ready) if ready else []

    def _made(self, ready: list[tuple[Job, AnyPicture]]) -> list[tuple[Job, Clip]]:
        """The same of pictures that were read; what only one of them cannot be asked for fails that one alone."""
        start = time.perf_counter()
        jobs, pictures = [j for j, _ in ready], [p for _, p in ready]
        try:
            clips = self._animate(jobs, pictures)
        except Cancelled:
            self._drop(jobs)
            return []
        except (SfvError, torch.OutOfMemoryError) as error:
            if len(ready) > 1 and isinstance(error, SfvError):
                return [made for one in ready for made in self._made([one])]
            sentence = str(error) if isinstance(error, SfvError) else "the clip does not fit into the device's memory"
            for job in jobs:
                self._fail(job, "impossible", sentence)
            return []
        self._send("made", (len(clips), time.perf_counter() - start))
        return list(zip(jobs, clips, strict=True))

    def _animate(self, jobs: list[Job], pictures: list[AnyPicture]) -> list[Clip]:
        names, wanted = [j.id for j in jobs], [j.wanted for j in jobs]

        def watch(done: int, steps: int) -> None:
            if self.cancelled.issuperset(names):
                raise Cancelled
            if time.monotonic() - self.reported_at > REPORT_EVERY and done < steps:
                self.reported_at = time.monotonic()
                self._report_progress(names, 100 * done // steps)

        return self.animator.animate(pictures, wanted[0], [w.seed for w in wanted], watch)

    def _report_progress(self, names: list[str], progress: int) -> None:
        try:
            self.jobs.report_progress(names, self.duty.name, progress)
        except DatabaseError:  # progress is worth no delay
            return
        self._send("progress", names)

    def _read(self, job: Job) -> AnyPicture:
        wanted: Settings = job.wanted
        data = io.BytesIO(self.store.read(job.picture_key))
        return read_sticker(data) if wanted.transparent else read_picture(data, wanted.background)

    def _picture(self, job: Job) -> AnyPicture | None:
        try:
            return self.ahead.take(job)
        except SfvError as error:
            self._fail(job, "picture", str(error))
            return None

    def _deliver(self, job: Job, clip: Clip) -> None:
        """Clip -> file -> store -> row, in this order: a row that says completed has its clip."""
        target = self.scratch / f"{job.id}.{job.format}"
        try:
            if job.id not in self.cancelled:
                self._keep(job, clip, target)
        except SfvError as error:
            if isinstance(error, StoreError) or isinstance(error.__cause__, OSError):
                self._give_back(job, str(error).replace(str(target), "the clip"))
            else:
                self._fail(job, "impossible", str(error))
        finally:
            target.unlink(missing_ok=True)
            self._drop([job])

    def _keep(self, job: Job, clip: Clip, target: Path) -> None:
        frames = clip.frames if clip.alpha is None else clip.stickers()
        write_clip(frames, target, clip.fps, self.animator.note(clip))
        size = self.store.put(job.clip_key, target, not job.passing)
        kept = self._surely(lambda: self.jobs.finish(job.id, self.duty.name, size, self.settings.keep))
        if kept:
            self._send("finished", job.id)
        else:
            self.store.delete(job.clip_key)

    def _give_back(self, job: Job, why: str) -> None:
        """A clip that cannot be kept is made again later; the worker waits too, since the next would fare no better."""
        self._surely(lambda: self.jobs.give_back(self.duty.name, [job.id], PAUSE, why))
        self._send("trouble", why)
        self.stopping.wait(PAUSE)

    def _fail(self, job: Job, code: str, why: str) -> None:
        failed = self._surely(lambda: self.jobs.fail(job.id, self.duty.name, code, why, self.settings.keep))
        self._drop([job])
        if failed:  # else it was cancelled meanwhile, and its picture may be gone
            self._send("failed", job.id)

    def _drop(self, jobs: list[Job]) -> None:
        names = {job.id for job in jobs}
        self.held -= names
        self.cancelled -= names
