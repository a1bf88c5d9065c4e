"""Real servers on loopback that are killed, filled up, starved and left: nothing that was accepted may be lost."""

import asyncio
import contextlib
import errno
import multiprocessing
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import Pipe
from pathlib import Path
from typing import Any

import httpx
import pytest
from serving import CARD, HANG, POISON, Live, live, open_quick, png

from sfv.errors import DatabaseError, ServiceError, SfvError
from sfv.media import read_clip, read_note
from sfv.serve.client import Client
from sfv.serve.jobs import Jobs, sqlite_url
from sfv.serve.routes import create_app
from sfv.serve.settings import Order, ServeSettings
from sfv.serve.supervisor import Supervisor
from sfv.serve.worker import Duty, Worker, work

PIPES: list[Any] = []
EXAMPLE = Path(__file__).parent.parent.parent / "src" / "sfv" / "examples" / "cat.png"


def ended(client: Client, names: list[str], within: float = 300) -> dict[str, str]:
    """The status of every job once all have ended."""
    end = time.monotonic() + within
    while True:
        found = {name: client.get(name)["status"] for name in names}
        if not {"queued", "in_progress"} & set(found.values()):
            return found
        assert time.monotonic() < end, found
        time.sleep(0.1)


def running(client: Client, name: str) -> None:
    """Wait until a job is being made."""
    while client.get(name)["status"] == "queued":
        time.sleep(0.01)


def test_a_worker_that_is_killed_loses_nothing(tmp_path: Path) -> None:
    with live(tmp_path / "data", max_batch=1) as server, Client(server.url) as client:
        first = client.create(png(), steps=50)
        others = [client.create(png(i), seed=i)["id"] for i in range(5)]
        running(client, first["id"])
        [worker] = server.workers()
        os.kill(worker, signal.SIGKILL)
        names = [first["id"], *others]
        bad = client.create(png(), seed=POISON)["id"]
        last = client.create(png(), seed=9)["id"]
        assert set(ended(client, [*names, last]).values()) == {"completed"}
        assert ended(client, [bad]) == {bad: "failed"}
        with pytest.raises(ServiceError, match="died 3 times"):
            client.wait(bad)
        assert [worker] != server.workers()
        metrics = httpx.get(f"{server.url}/metrics").text
        assert "sfv_worker_deaths_total 4.0" in metrics


@pytest.mark.parametrize("when", ["before", "opening", "broken"])
def test_a_worker_whose_server_dies_while_it_starts_ends_in_silence(
    tmp_path: Path, when: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, theirs = Pipe()
    opened: list[str] = []

    def opener(settings: ServeSettings, device: str) -> Any:
        ours.close()
        opened.append(device)
        if when == "broken":
            raise SfvError("no such model")
        return open_quick(settings, device)

    monkeypatch.setattr(signal, "signal", lambda *_: None)
    monkeypatch.setattr("sfv.serve.worker.keep_memory", lambda: None)
    monkeypatch.setattr("sfv.serve.worker.Worker.run", lambda worker: pytest.fail("it works for nobody"))
    if when == "before":
        ours.close()
    settings = ServeSettings(data=tmp_path)
    work(Duty(settings, sqlite_url(tmp_path), "cpu", "m:0:w", opener), theirs)
    assert opened == ([] if when == "before" else ["cpu"])
    theirs.close()


def worker_messages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: int, order: str = "", animator: Any = open_quick
) -> list[tuple[str, Any]]:
    """What a worker process says whose database does not answer at first; it is sent an order before it begins."""
    ours, theirs = Pipe()

    def opened(url: str, patient: bool) -> Jobs:
        calls.append(url)
        if len(calls) <= fails:
            raise DatabaseError("connection refused")
        return Jobs(url, patient)

    calls: list[str] = []
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    monkeypatch.setattr("sfv.serve.worker.keep_memory", lambda: None)
    monkeypatch.setattr("sfv.serve.worker.Worker.run", lambda worker: worker.jobs.close())
    monkeypatch.setattr("sfv.serve.worker.Jobs", opened)
    if order:
        ours.send((order, None))
    work(Duty(ServeSettings(data=tmp_path), sqlite_url(tmp_path), "cpu", "m:0:w", animator), theirs)
    theirs.close()
    said = []
    with contextlib.suppress(EOFError):
        while True:
            said.append(ours.recv())
    ours.close()
    return said


def test_a_worker_that_starts_while_the_database_is_away_waits_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = worker_messages(tmp_path, monkeypatch, fails=2, order="wake")
    assert said == [("begun", None), *[("trouble", "connection refused")] * 2, ("ready", CARD)]


def test_a_worker_that_waits_for_the_database_stops_on_the_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = worker_messages(tmp_path, monkeypatch, fails=1000, order="stop")
    assert said == [("begun", None), ("trouble", "connection refused")]


@pytest.fixture
def supervisor(tmp_path: Path) -> Iterator[Supervisor]:
    """Of two devices, with a database; nothing is started."""
    settings = ServeSettings(data=tmp_path, device=("cpu", "cuda:9"))
    jobs = Jobs(sqlite_url(tmp_path))
    yield Supervisor(settings, sqlite_url(tmp_path), "0123456789ab", open_quick, jobs)
    jobs.close()


def test_a_device_that_cannot_be_opened_ends_the_server_only_while_none_could_be(supervisor: Supervisor) -> None:
    heard: list[tuple[str, Any]] = []
    supervisor.listener = lambda event, payload: heard.append((event, payload))
    good, bad = supervisor.slots
    good._receive("ready", CARD)
    bad._receive("broken", "no such device")
    assert not supervisor.broken and supervisor.ready == 1
    assert heard[1] == ("trouble", "cuda:9: no such device; it is tried again every 10 s")
    supervisor.model_info = None
    bad._receive("broken", "no such device")
    assert supervisor.broken == "no such device" and heard[2] == ("broken", "no such device")


def test_a_worker_lives_while_it_is_heard_of_within_a_lease(supervisor: Supervisor) -> None:
    for slot in supervisor.slots:
        slot.process, slot.pipe = multiprocessing.get_context("spawn").Process(name=slot.device), Pipe()[0]
    first, second = supervisor.slots
    for slot in supervisor.slots:
        slot._receive("beat", None)
    assert supervisor.living == ["cpu", "cuda:9"]
    first.heard_at -= supervisor.settings.lease
    second.pipe = None
    assert supervisor.living == []


def test_a_beat_is_no_sign_of_work(supervisor: Supervisor) -> None:
    slot = supervisor.slots[0]
    slot._receive("started", ["job"])
    slot.last_message -= supervisor.settings.stuck + 1
    slot._receive("beat", None)
    assert slot._silent()


def test_leases_of_living_workers_are_let_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    service = create_app(ServeSettings(data=tmp_path), open_quick).service
    service.supervisor.model_info = CARD
    job = asyncio.run(service.accept(Order(), png(), ""))
    assert job.ready == 0 and service.jobs.claim("w", "quick", 1, -3600)
    monkeypatch.setattr(Supervisor, "living", ["w"])
    service._leases()
    held = service.jobs.get(job.id)
    service.stop()
    assert held and held.status == "in_progress"


def test_a_worker_that_the_system_has_no_room_for_is_started_later(
    supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[str] = []

    def crowded(kind: str) -> Any:
        if len(heard) == 3:
            supervisor.stopping = True
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr("sfv.serve.supervisor.SHORTEST", 0.01)
    monkeypatch.setattr("sfv.serve.supervisor.multiprocessing.get_context", crowded)
    supervisor.listener = lambda event, payload: heard.append(f"{event}: {payload}")
    supervisor.slots[0].thread.start()
    supervisor.slots[0].thread.join(60)
    said = "trouble: a worker for cpu cannot be started or heard (Too many open files); it is tried again"
    assert heard == [said] * 4


def test_a_worker_whose_messages_cannot_be_heard_is_killed(
    supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would make clips beside the next one."""
    seen: list[int] = []

    def deaf(slot: Any, pipe: Any, process: Any) -> None:
        seen.append(process.pid)
        supervisor.stopping = True
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr("sfv.serve.supervisor._Slot._listen", deaf)
    supervisor.slots[0]._run()
    assert len(seen) == 1 and supervisor.processes == []


def test_a_job_that_cost_three_workers_is_counted_sent_and_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def given_up() -> bool:
        service.events.loop = asyncio.get_running_loop()
        job = await service.accept(Order(), png(), "")
        with service.events.watching(job.id, end=True) as over:
            for _ in range(3):
                service.jobs.claim("m:0:w", "quick", 1, 100)
                service.supervisor.slots[0]._worker_died("m:0:w", -9)
            await asyncio.wait_for(over.wait(), 60)
        return f"{job.id} is given up: the worker died 3 times" in caplog.text

    service = create_app(ServeSettings(data=tmp_path), open_quick).service
    service.supervisor.model_info, service.supervisor.listener = CARD, service._on_worker_message
    assert asyncio.run(given_up())
    assert b'sfv_jobs_ended_total{status="failed"} 1.0' in service.metrics.text()
    service.stop()


def test_an_idle_worker_that_hangs_is_started_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    service = create_app(ServeSettings(data=tmp_path / "data", grace=0), open_quick).service
    ready, died = threading.Event(), threading.Event()
    events = {"ready": ready, "died": died}
    service.supervisor.start(lambda word, said: events[word].set() if word in events else None)
    try:
        assert ready.wait(300)
        [worker] = service.supervisor.processes
        os.kill(worker, signal.SIGSTOP)
        monkeypatch.setattr("sfv.serve.supervisor.QUIET", 0.5)
        assert died.wait(60)
    finally:
        service.stop()


def test_a_worker_without_jobs_says_that_it_is_idle(tmp_path: Path) -> None:
    service = create_app(ServeSettings(data=tmp_path / "data"), open_quick).service
    ours, theirs = Pipe()
    duty = Duty(service.settings, service.database, "cpu", "m:0:w", open_quick)
    at = Worker(duty, theirs, open_quick(service.settings, "cpu"), service.store, service.jobs)
    running = threading.Thread(target=at.run)
    running.start()
    assert ours.poll(60) and ours.recv() == ("idle", None)
    ours.send(("stop", None))
    running.join(60)
    assert not running.is_alive()
    PIPES.append(ours)  # closed, it would end this process
    service.stop()


@pytest.mark.parametrize("lease", [30, 0.5])
def test_a_worker_that_is_stuck_is_killed_and_blamed_on_its_job(lease: float, tmp_path: Path) -> None:
    """However often its other thread is heard of."""
    settings = ServeSettings(data=tmp_path / "data", stuck=0.5, grace=0.5, lease=lease)
    service = create_app(settings, open_quick).service
    service.supervisor.model_info, died = CARD, threading.Event()
    job = asyncio.run(service.accept(Order(seed=HANG), png(), ""))
    service.supervisor.start(lambda word, said: died.set() if word == "died" else None)
    assert died.wait(300)
    service.stop()
    assert not service.lock.is_locked
    after = Jobs(service.database).get(job.id)
    assert after and after.crashes >= 1 and after.status == "queued"


@pytest.mark.long
def test_a_server_that_is_killed_with_a_full_queue_loses_nothing(tmp_path: Path) -> None:
    server = Live(tmp_path / "data", queue=12).start()
    try:
        accepted: list[str] = []
        with Client(server.url, patience=0) as client:
            running(client, client.create(png(), steps=50)["id"])
            accepted += [v["id"] for v in client.list()]
            for i in range(20):
                try:
                    accepted.append(client.create(png(i), seed=i, steps=3)["id"])
                except ServiceError as error:
                    assert error.status == 429 and error.again >= 1
            assert len(accepted) >= 12
            workers = server.workers()
        server.signal(signal.SIGKILL)
        for worker in workers:  # it hears that its server is gone
            _gone(worker)
        server.start()
        with Client(server.url) as client:
            assert set(ended(client, accepted).values()) == {"completed"}
            for name in accepted:
                assert client.content(name)[4:8] == b"ftyp"
    finally:
        server.stop()
    assert not list((tmp_path / "data" / "scratch").iterdir())


def _gone(process: int) -> None:
    end = time.monotonic() + 120
    while Path(f"/proc/{process}").exists() and b"Z" not in Path(f"/proc/{process}/stat").read_bytes().split()[2:3]:
        assert time.monotonic() < end
        time.sleep(0.05)


def test_sigterm_finishes_what_runs_and_keeps_what_waits(tmp_path: Path) -> None:
    server = Live(tmp_path / "data", max_batch=1).start()
    try:
        with Client(server.url, patience=0) as client:
            first = client.create(png(), steps=40)["id"]
            waiting = [client.create(png(i), steps=40, seed=i)["id"] for i in range(4)]
            running(client, first)
            assert server.process
            server.process.send_signal(signal.SIGTERM)
            while httpx.get(f"{server.url}/readyz").status_code == 200:
                time.sleep(0.01)
            with pytest.raises(ServiceError, match="shutting down"):
                client.create(png())
        assert server.process.wait(120) == 0 and not server.unfinished()
        server.start()
        with Client(server.url) as client:
            assert client.get(first)["status"] == "completed"
            assert {client.get(name)["status"] for name in waiting} <= {"queued", "in_progress"}
            assert set(ended(client, waiting).values()) == {"completed"}
            _slow_client(server, client)
            _client_gone(server, client)
            asyncio.run(_crowd(server))
    finally:
        server.stop()


def _slow_client(server: Live, client: Client) -> None:
    """One that sends a byte at a time and never ends, and one that reads nothing, hold up nobody else."""
    with socket.create_connection(("127.0.0.1", server.port)) as slow:
        head = b"POST /v1/videos HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=b\r\n"
        slow.sendall(head + b"Content-Length: 1000\r\n\r\n")
        deaf = socket.create_connection(("127.0.0.1", server.port))
        deaf.sendall(b"GET /docs HTTP/1.1\r\nHost: x\r\n\r\n" * 200)
        for _ in range(5):
            slow.sendall(b"-")
            assert client.animate(png(), format="gif")[:3] == b"GIF"
        deaf.close()


def _client_gone(server: Live, client: Client) -> None:
    """Who leaves while waiting for a clip cancels it; nothing of it stays."""
    before, kept = client.list(), set((server.data / "files").iterdir())
    cancelled = _cancelled(server)
    with pytest.raises(httpx.TimeoutException):
        httpx.post(f"{server.url}/v1/animate", files={"picture": png()}, data={"steps": "50"}, timeout=0.4)
    end = time.monotonic() + 60
    while _cancelled(server) == cancelled or set((server.data / "files").iterdir()) != kept:
        assert time.monotonic() < end
        time.sleep(0.05)
    assert client.list() == before


def _cancelled(server: Live) -> float:
    metrics = httpx.get(f"{server.url}/metrics").text
    return sum(float(x.split()[-1]) for x in metrics.splitlines() if x.startswith('sfv_jobs_ended_total{status="canc'))


async def _crowd(server: Live) -> None:
    """Two hundred at once: every answer is a clip, a place in the queue, or a request to come again."""
    async with httpx.AsyncClient(base_url=server.url, timeout=300, limits=httpx.Limits(max_connections=200)) as client:
        asks = [client.post("/v1/videos", files={"picture": png(i)}, data={"seed": str(i)}) for i in range(200)]
        codes = [a.status_code for a in await asyncio.gather(*asks)]
    assert set(codes) <= {202, 429} and codes.count(202) >= 64


def test_the_embedded_model_over_http(tmp_path: Path) -> None:
    """The real model: each kind of request once, through the client; the clip is that of sfv.generate."""
    import sfv

    with live(tmp_path / "data", real=True, profile="exact") as server, Client(server.url) as client:
        clip, clear = tmp_path / "cat.mp4", tmp_path / "clear.webp"
        clip.write_bytes(client.animate(EXAMPLE, seed=3))
        video = client.create(EXAMPLE, transparent=True, seed=4)
        states = [v["status"] for v in client.events(video["id"])]
        assert states[-1] == "completed" and client.wait(video["id"])["progress"] == 100
        clear.write_bytes(client.content(video["id"]))
        assert client.delete(video["id"])["deleted"]
    assert '"seed": 3' in read_note(clip)
    model = sfv.optimize(sfv.load(), profile="exact")
    assert len(read_clip(clip)) == len(read_clip(clear)) == 3 * model.defaults.frames
    same = sfv.generate(model, sfv.read_picture(EXAMPLE), seed=3)
    sfv.write_clip(same.frames, tmp_path / "same.mp4", same.fps)
    difference = (read_clip(tmp_path / "same.mp4").float() - read_clip(clip).float()).abs().mean()
    assert difference < 0.5


def test_a_model_that_is_not_there_ends_the_server_with_a_sentence(tmp_path: Path) -> None:
    server = Live(tmp_path / "data", real=True, model=str(tmp_path / "nowhere"))
    with pytest.raises(AssertionError, match="nowhere"):
        server.start()
    assert server.process and server.process.returncode != 0


def test_the_client_says_what_is_wrong(tmp_path: Path) -> None:
    with Client("http://127.0.0.1:9", patience=0) as client:
        with pytest.raises(ServiceError, match="is it running"):
            client.get("x")
        with pytest.raises(Exception, match="nowhere.png"):
            client.create(tmp_path / "nowhere.png")


@pytest.mark.long
def test_two_servers_share_the_work_of_one_database(tmp_path: Path) -> None:
    """What one machine accepts another may make; when one dies, its lease runs out and the other takes over."""
    shared = {"database": f"sqlite:///{tmp_path}/jobs", "store": str(tmp_path / "files"), "lease": 1.0, "max_batch": 1}
    first, second = Live(tmp_path / "a", **shared), Live(tmp_path / "b", **shared)
    try:
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(lambda server: server.start(), (first, second)))
        with Client(second.url) as client:
            names = [client.create(png(i), steps=30, seed=i)["id"] for i in range(6)]
            threading.Event().wait(0.3)
            first.signal(signal.SIGKILL)
            assert set(ended(client, names).values()) == {"completed"}
    finally:
        first.stop()
        second.stop()


def test_the_address_is_said_once_it_is_listened_on(tmp_path: Path) -> None:
    with live(tmp_path / "data") as server:
        end, said = time.monotonic() + 30, f"sfv: {server.url} (description at /docs)"
        while said not in server.log.read_text():
            assert time.monotonic() < end
            time.sleep(0.05)
        second = Live(tmp_path / "other")
        second.port = server.port
        with pytest.raises(AssertionError, match="cannot be listened on") as error:
            second.start()
        assert "description at" not in str(error.value)
