"""One server's state and what it does with requests; knows no route."""

import asyncio
import contextlib
import hashlib
import logging
import os
import re
import shutil
import threading
import time
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, BinaryIO

from filelock import FileLock, Timeout

from sfv.errors import DatabaseError, Refusal, SfvError, StoreError
from sfv.generation.framing import asked_size, own_size
from sfv.limits import frames_of, largest, work
from sfv.media.formats import colour
from sfv.serve.animator import ModelInfo, Opener
from sfv.serve.events import JobEvents
from sfv.serve.job import OWN_KEY, PASSING, Job
from sfv.serve.jobs import Jobs, sqlite_url
from sfv.serve.keys import Keys
from sfv.serve.lookups import Lookups
from sfv.serve.metrics import Metrics
from sfv.serve.settings import Order, ServeSettings
from sfv.serve.store import Store, open_store
from sfv.serve.supervisor import Supervisor
from sfv.settings import SEE_THROUGH, Settings
from sfv.system.files import replacing
from sfv.web.uploads import Limits, checked_picture, claimed_size

log = logging.getLogger("sfv.serve")
NAME = re.compile(r"[a-z0-9_]{1,40}")
"""Of a job; anything else is none, and a database may stumble over it."""
ORPHAN = 3600.0
"""Seconds after which a stored file that belongs to no job is taken away."""
LOOKS = 1.0
"""Seconds between two looks for jobs past their deadline."""
SYNC_WAIT = 120.0
"""Seconds for which a job's sender waits for the clip; a queued one then fails."""
ROOM = 1 << 20
"""Bytes for which there must be room again after something could not be kept."""
FRESH = 0.1
"""Seconds for which the length of the queue is taken as known."""


@dataclass(eq=False)
class Upload:
    """A request whose picture is under way."""

    owner: str


class Service:
    """Jobs, store, workers, keys and counters of one server; `start` and `stop` belong to the event loop's life."""

    def __init__(self, settings: ServeSettings, opener: Opener) -> None:
        self.settings = settings
        self.lock = _only_one(settings)
        self.machine = _machine(settings)
        self.store: Store = open_store(settings.store, settings.data)
        self.database = settings.database or sqlite_url(settings.data)
        self.jobs = _opened(self.database)
        self.lookups = Lookups(self.jobs.some)
        self.keys = Keys(settings.keys) if settings.keys else None
        self.metrics, self.events = Metrics(), JobEvents()
        self.supervisor = Supervisor(settings, self.database, self.machine, opener, self.jobs)
        self.limits = Limits(settings.max_bytes, settings.max_pixels)
        self.decoding = ThreadPoolExecutor(2, "sfv-decode")  # bounds the memory that pictures take
        self.sweeping = threading.Event()
        self.draining = False
        self.reported = False
        """Whether the caller says why no worker can start; if not, the log does."""
        self.doubtful = False
        """Whether something could not be kept since there was last room for it."""
        self.waiting, self.counted = 0, -FRESH
        self.uploads = set[Upload]()
        self.adding = threading.Lock()

    @property
    def model_info(self) -> ModelInfo:
        """The model's facts; Refusal 503 until a worker has sent them."""
        if self.supervisor.model_info is None:
            raise Refusal(503, "starting", "the model is being opened; try again in a few seconds", 5)
        return self.supervisor.model_info

    @property
    def pause(self) -> float:
        """Seconds between two looks at a job without news: another machine may have made it."""
        return 1.0 if self.jobs.local else 0.5

    def start(self) -> None:
        """Give back what an earlier life left running, and start workers and sweeper."""
        shutil.rmtree(self.settings.data / "scratch", ignore_errors=True)
        (self.settings.data / "scratch").mkdir(parents=True)
        self._forget_passing()
        self.jobs.give_back_machine(self.machine)
        self.events.loop = asyncio.get_running_loop()
        self.supervisor.start(self._on_worker_message)
        threading.Thread(target=self._sweep, name="sfv-sweeper", daemon=True).start()

    def stop(self) -> None:
        """Finish what runs (for `grace` seconds), leave what waits in the database, let go of everything."""
        self.draining = True
        self.sweeping.set()
        self.supervisor.stop(self.settings.grace)
        self.decoding.shutdown()
        self.jobs.close()
        self.lock.release()

    def _on_worker_message(self, event: str, payload: Any) -> None:
        """Handle a worker's message, in its slot's thread."""
        if event == "made":
            self.metrics.made(*payload)
        elif event in ("finished", "failed"):
            self.metrics.ended.labels("completed" if event == "finished" else "failed").inc()
            self.events.notify([payload], over=True)
        elif event in ("started", "progress"):
            self.events.notify(payload)
        elif event == "returned":
            self._failed(payload)
        elif event == "died":
            self.metrics.deaths.inc()
            log.warning("a worker died; it held %s", ", ".join(payload) or "nothing")
        elif event in ("trouble", "broken"):
            self.metrics.trouble.inc()
            self.doubtful = True
            if event == "trouble" or not self.reported:
                log.warning("%s", payload)
        self.metrics.workers.set(self.supervisor.ready)

    async def accept(
        self, order: Order, picture: bytes | BinaryIO, owner: str, name: str = "", upload: "Upload | None" = None
    ) -> Job:
        """A job for a picture; it is accepted when picture and row are durable, and only then returned.

        `name`: its id, from `passing_name`, if its sender waits for the clip: a power cut, which takes the sender's
        connection, may then take the job, too. `upload`: what `admit` gave. Refusal, UploadError, QueueFull,
        StoreError or DatabaseError otherwise, and then nothing is kept. A file is read when its turn has come, so that
        no more than two pictures are in memory.
        """
        work = partial(self._accepted, order, picture, owner, name, upload)
        job = await asyncio.get_running_loop().run_in_executor(self.decoding, work)
        self.metrics.accepted.inc()
        self.supervisor.wake()
        return job

    def _accepted(self, order: Order, picture: bytes | BinaryIO, owner: str, name: str, upload: "Upload | None") -> Job:
        data = picture if isinstance(picture, bytes) else _read(picture)
        wanted, format, work = self.plan(order, data)
        if name and work * int(wanted.steps or 1) > self.settings.sync_work:
            raise Refusal(422, "size", "this clip takes too long to wait for; send it to /v1/videos")
        height, width = checked_picture(data, self.limits, wanted.transparent, wanted.background).shape[:2]
        now = time.time()
        job = Job(
            id=name or f"video_{uuid.uuid4().hex}",
            owner=owner,
            model=self.model_info.name,
            batch_key=batch_key(wanted),
            settings=wanted.model_dump_json(),
            format=format,
            created=now,
            ready=0.0,
            deadline=now + (SYNC_WAIT if name else self.settings.deadline),
            shape="x".join(map(str, clip_size(wanted, height, width)[::-1])),
        )
        self._keep(job, data, upload)
        return job

    def _keep(self, job: Job, picture: bytes, upload: "Upload | None") -> None:
        try:
            self.store.put(job.picture_key, picture, not job.passing)
            try:
                self._add(job, upload)
            except SfvError:
                self.store.delete(job.picture_key)
                raise
        except (StoreError, DatabaseError) as error:
            self.doubtful = self.doubtful or error.full
            raise

    def _add(self, job: Job, upload: "Upload | None") -> None:
        """A row in the queue, if the owner's share leaves room."""
        with self.adding:
            if upload is not None:  # from here on it counts as one that waits
                self.uploads.discard(upload)
            if self.several and (mine := self.jobs.waiting_of(job.model, job.owner)) >= self.share:
                raise self.full(mine, self.share)
            self.jobs.add(job, self.settings.queue)

    async def admit(self, owner: str) -> "Upload":
        """Refusal 503 while starting or stopping, 429 while the queue or the owner's share is full; before a body is
        read. Uploads under way count, too: until `accept` has made a job of what is returned, or the caller drops it.

        The queue is counted ten times a second at most; `accept` counts again.
        """
        if self.draining:
            raise Refusal(503, "stopping", "the server is shutting down; try again in a minute", 60)
        name, now = self.model_info.name, time.monotonic()
        if now - self.counted > FRESH:
            self.counted, self.waiting = now, await asyncio.to_thread(self.jobs.waiting, name)
        mine = await asyncio.to_thread(self.jobs.waiting_of, name, owner) if self.several else 0
        under_way = [upload.owner for upload in list(self.uploads)]
        if self.several and mine + under_way.count(owner) >= self.share:
            raise self.full(mine, self.share)
        if (waiting := self.waiting + len(under_way)) >= self.settings.queue:
            raise self.full(waiting)
        self.uploads.add(upload := Upload(owner))
        return upload

    @property
    def several(self) -> bool:
        """Whether there are keys beside the one that asks."""
        return self.keys is not None and len(self.keys.entries) > 1

    @property
    def share(self) -> int:
        """Jobs of one key that may wait while there are others: half of the queue."""
        return max(1, self.settings.queue // 2)

    def full(self, waiting: int, share: int | None = None) -> Refusal:
        """429, with the seconds that a place in the queue (or in a key's share of it) is likely to take."""
        again = self.metrics.mean * max(1, waiting // 4) / max(1, self.supervisor.ready)
        what, why = f"{self.settings.queue} jobs are", "which is as many as may"
        if share is not None:
            what, why = f"{share} jobs of this key are", "as many as one key may have beside others"
        sentence = f"{what} waiting or being sent, {why}; try again later"
        return Refusal(429, "queue_full", sentence, max(1, min(600, round(again))))

    def plan(self, order: Order, picture: bytes) -> tuple[Settings, str, int]:
        """Settings with every field filled, the file's format and the work; Refusal 422 for what cannot be made here.

        Of the picture no more than the header is looked at, and that only where the clip takes its shape from it.
        """
        if order.model not in (None, self.model_info.name):
            raise Refusal(422, "model", f"model: this server runs {self.model_info.name}; leave the field out")
        try:
            asked = Settings(**order.model_dump(include=set(Settings.model_fields)))
            if asked.fit is None and asked.size is None:
                asked = asked.model_copy(update={"fit": "pad"})  # the size is said before the picture is opened
            wanted = self.model_info.resolve(asked)
            colour(wanted.background)
        except SfvError as error:
            raise Refusal(422, "settings", str(error)) from error
        format = order.format or ("webp" if wanted.transparent else "mp4")
        if wanted.transparent and format not in SEE_THROUGH:
            known = ", ".join(SEE_THROUGH)
            raise Refusal(422, "format", f"format: {format} holds no transparency; use one of {known}")
        if (wanted.steps or 0) > self.settings.max_steps:
            raise Refusal(
                422, "steps", f"steps: {wanted.steps} are more than the {self.settings.max_steps} allowed here"
            )
        size, most = self._size(wanted, picture), self.settings.max_work
        if (total := work(wanted, size)) > most:
            large = f"size: {frames_of(wanted, size)} are more than the {most:,} allowed here"
            cure = "give a smaller size, or fewer frames by seconds, play_fps or frames"
            raise Refusal(422, "size", f"{large} (frames x height x width); {cure}")
        return wanted, format, total

    def _size(self, wanted: Settings, picture: bytes) -> tuple[int, int]:
        """Height and width of a clip of filled settings."""
        if wanted.fit != "own":
            return largest(wanted)
        return clip_size(wanted, *claimed_size(picture, self.limits))

    async def get(self, name: str, owner: str) -> Job:
        """A job of the owner's; Refusal 404 for any other."""
        job = await self.lookups.get(name) if NAME.fullmatch(name) else None
        if job is None or job.owner != owner:
            raise Refusal(404, "not_found", "there is no such video; it may have expired")
        return job

    async def follow(self, name: str, owner: str, beat: float = 15) -> AsyncIterator[Job | None]:
        """A job now and at every change until it has ended; None every `beat` seconds without one."""
        clock = asyncio.get_running_loop().time
        with self.events.watching(name) as changed:
            job, said_at = await self.get(name, owner), clock()
            yield job
            while job.open:
                with contextlib.suppress(TimeoutError):  # all who follow look at the same moments, by one query
                    await asyncio.wait_for(changed.wait(), self.pause - clock() % self.pause)
                changed.clear()
                before, job = job, await self.get(name, owner)
                if (job.status, job.progress) != (before.status, before.progress):
                    said_at = clock()
                    yield job
                elif clock() - said_at >= beat:
                    said_at = clock()
                    yield None

    async def drop(self, job: Job) -> Job | None:
        """Cancel a job that waits or runs (it is returned as it then is), or forget one that has ended (None).

        One whose sender waited for the clip is forgotten either way.
        """
        if job.open and (gone := await asyncio.to_thread(self.jobs.cancel, job.id, job.owner, self.settings.keep)):
            self.supervisor.cancel(job.id)
            self.metrics.ended.labels("cancelled").inc()
            self.events.notify([job.id], over=True)
            if not job.passing:
                return gone
        await asyncio.to_thread(self.forget, job)
        return None

    def forget(self, job: Job) -> None:
        """Row first, then files: what a kill leaves between them, the sweeper finds.

        On a full disk even a row that goes needs room, and the files make it.
        """
        try:
            self.jobs.remove(job)
        except DatabaseError as error:
            if not error.full:
                raise
            self._delete_files(job)
            self.jobs.remove(job)
        else:
            self._delete_files(job)

    def _delete_files(self, job: Job) -> None:
        self.store.delete(job.picture_key)
        self.store.delete(job.clip_key)

    def check(self) -> None:
        """Whether a job could be kept now; Refusal 503 if not. It is tried, by a job that nobody asked for, only since
        something could not be kept; the rest of the time the database need but answer."""
        self.jobs.waiting(self.model_info.name)
        if not self.doubtful:
            return
        now, name = time.time(), f"video_{uuid.uuid4().hex}"
        try:
            job = Job(name, "-", "-", "-", "{}", "mp4", now, 0, now, status="cancelled", expires=now)
            self._keep(job, bytes(ROOM), None)
            self.forget(job)
        except (StoreError, DatabaseError) as error:
            raise Refusal(503, "storage", str(error), 30) from error
        self.doubtful = False

    def _forget_passing(self) -> None:
        """What senders waited for when this server's earlier life ended."""
        _each(self.forget, self.jobs.passing(self.machine))

    def _sweep(self) -> None:
        """Every `LOOKS` seconds deadlines; leases, what has expired, and files without a job less often."""
        tasks: list[tuple[float, Callable[[], None]]] = [
            (LOOKS, self._deadlines),
            (self.settings.lease / 3, self._leases),
            (min(30.0, self.settings.keep / 2), self._expired),
            (ORPHAN, self._orphans),
        ]
        due = [time.monotonic() + every for every, _ in tasks]
        while not self.sweeping.wait(min(LOOKS / 2, self.settings.keep / 2)):
            for i, (every, task) in enumerate(tasks):
                if time.monotonic() < due[i]:
                    continue
                due[i] = time.monotonic() + every
                try:
                    task()
                except SfvError as error:
                    log.warning("%s", _said(error))
                except Exception:  # the next task, and the next time, may fare better; the thread lives
                    log.exception("sweeping failed; it is tried again")

    def _deadlines(self) -> None:
        self._failed(self.jobs.fail_overdue(self.settings.keep))

    def _leases(self) -> None:
        self._failed(self.jobs.give_back_lost(self.settings.keep, self.supervisor.living))

    def _failed(self, jobs: list[Job]) -> None:
        for job in jobs:
            if job.status == "failed":
                self.metrics.ended.labels("failed").inc()
                log.warning("%s is given up: %s", job.id, job.error)
        self.events.notify([job.id for job in jobs], over=True)

    def _expired(self) -> None:
        _each(self.forget, self.jobs.expired())

    def _orphans(self) -> None:
        """Of the store's files those alone that a job of some earlier time has left."""
        keys, swept = [key for key in self.store.keys(time.time() - ORPHAN) if OWN_KEY.fullmatch(key)], 0
        for some in (keys[i : i + 500] for i in range(0, len(keys), 500)):
            known = self.jobs.known([key.partition("/")[0] for key in some])
            gone = [key for key in some if key.partition("/")[0] not in known]
            swept += _each(self.store.delete, gone)
        if swept:
            log.info("%s stored files that belonged to no job are swept", swept)


def _each(action: Callable[[Any], None], things: Sequence[Any]) -> int:
    """Do it with every thing, whatever becomes of the others; with how many it went well. The log hears of the rest."""
    failed = []
    for thing in things:
        try:
            action(thing)
        except SfvError as error:
            failed.append(_said(error))
    if failed:
        more = f" (and {len(failed) - 1} more)" if len(failed) > 1 else ""
        log.warning("%s%s", failed[0], more)
    return len(things) - len(failed)


def _said(error: SfvError) -> str:
    """An error as the log has it."""
    return error.detail if isinstance(error, DatabaseError) else str(error)


def clip_size(wanted: Settings, height: int, width: int) -> tuple[int, int]:
    """Height and width of the clip of filled settings and a picture."""
    frame = int(wanted.height or 0), int(wanted.width or 0)
    return own_size(height, width, wanted, max(frame)) if wanted.fit == "own" else asked_size(wanted, frame)


def _read(file: BinaryIO) -> bytes:
    try:
        return file.read()
    except OSError as error:
        raise Refusal(507, "storage", "the upload cannot be read back from the disk; try again later", 30) from error


def passing_name(machine: str) -> str:
    """A fresh id of a job whose sender waits for the clip at a machine (40 letters at most, as the table holds)."""
    return f"{PASSING}{machine}{uuid.uuid4().hex}"[:40]


def batch_key(wanted: Settings) -> str:
    """The same for clips that one batch may hold: settings equal but for the seed."""
    return hashlib.sha256(wanted.model_copy(update={"seed": 0}).model_dump_json().encode()).hexdigest()


def _opened(database: str) -> Jobs:
    """The jobs; whoever starts a server gets the database's own message."""
    try:
        return Jobs(database)
    except DatabaseError as error:
        raise SfvError(f"the jobs' database cannot be used ({error.detail}); check --database") from error


def _only_one(settings: ServeSettings) -> FileLock:
    """A data folder belongs to one server at a time; the lock ends with its process, however that ends."""
    try:
        settings.data.mkdir(parents=True, exist_ok=True)
        lock = FileLock(settings.data / "server.lock", timeout=3, thread_local=False)
        lock.acquire()
    except OSError as error:
        if isinstance(error, Timeout):
            raise SfvError(f"{settings.data} is used by another server; stop it, or name another --data") from error
        raise SfvError(f"{settings.data} cannot be written ({error.strerror}); name another --data") from error
    return lock


def _machine(settings: ServeSettings) -> str:
    """This data folder's name among the machines of one database; a new one where its file holds none."""
    file = settings.data / "machine"
    try:
        name = file.read_text(errors="replace").strip() if file.exists() else ""
    except OSError as error:
        raise SfvError(f"{file} cannot be read ({error.strerror}); give this user the right to read it") from error
    if re.fullmatch("[0-9a-f]{12}", name):
        return name
    name = uuid.uuid4().hex[:12]
    with replacing(file) as beside, beside.open("w") as out:
        out.write(name)
        out.flush()
        os.fsync(out.fileno())
    return name
