"""Pictures of the jobs that come next, decoded while the clips before them are made."""

import asyncio
import threading
from collections.abc import Iterator
from dataclasses import replace
from multiprocessing import Pipe
from pathlib import Path
from typing import Any

import pytest
import torch
from serving import CARD, QuickAnimator, open_quick, png

from sfv.errors import DatabaseError, StoreError
from sfv.serve.ahead import Ahead
from sfv.serve.job import Job
from sfv.serve.routes import create_app
from sfv.serve.settings import Order, ServeSettings
from sfv.serve.worker import Duty, Worker


def job(name: str) -> Job:
    return Job(name, "", "m", "a", "{}", "mp4", 0, 0, 0)


def test_beside_a_job_that_has_cost_a_life_no_other_picture_is_read(tmp_path: Path) -> None:
    service = create_app(ServeSettings(data=tmp_path / "data"), open_quick).service
    duty = Duty(service.settings, service.database, "cpu", "m:0:w", open_quick)
    at = Worker(duty, Pipe()[1], open_quick(service.settings, "cpu"), service.store, service.jobs)
    begun: list[Any] = []
    at.ahead.begin = begun.append  # type: ignore[method-assign, assignment]
    at._prepare([replace(job("a"), crashes=1)], [])
    assert begun == []
    at._prepare([job("b")], [])
    assert [one.id for [one] in begun] == ["b"]
    service.stop()


class Reading:
    """Who read what, and where."""

    def __init__(self) -> None:
        self.waiting: list[Job] = []
        self.read: list[tuple[str, bool]] = []
        self.ahead = Ahead(lambda: self.waiting, self.picture)

    def picture(self, wanted: Job) -> Any:
        here = threading.current_thread() is threading.main_thread()
        self.read.append((wanted.id, here))
        if wanted.id == "bad":
            raise StoreError("bad cannot be read")
        return torch.zeros(1, 1, 3, dtype=torch.uint8)

    def begin(self, batch: list[Job], waiting: list[Job]) -> None:
        self.waiting = waiting
        self.ahead.begin(batch)
        assert self.ahead.looking
        self.ahead.looking.result(60)


@pytest.fixture
def reading() -> Iterator[Reading]:
    reading = Reading()
    yield reading
    reading.ahead.close()


def test_what_waits_is_read_elsewhere_and_once_and_all_else_when_it_is_wanted(reading: Reading) -> None:
    a, b, c = job("a"), job("b"), job("c")
    reading.begin([], [a, b])
    for future in list(reading.ahead.coming.values()):
        future.result(60)
    reading.begin([a], [c])
    assert list(reading.ahead.coming) == ["a", "c"]
    reading.ahead.coming["c"].result(60)
    for wanted in (a, b, c):
        reading.ahead.take(wanted)
    assert reading.read == [("a", False), ("b", False), ("c", False), ("b", True)] and not reading.ahead.coming


def test_what_nobody_takes_is_let_go(reading: Reading) -> None:
    reading.begin([], [job("a")])
    reading.ahead.forget()
    assert not reading.ahead.coming


def test_a_picture_that_cannot_be_read_is_an_error_of_who_takes_it(reading: Reading) -> None:
    reading.begin([], [job("bad")])
    with pytest.raises(StoreError, match="bad cannot be read"):
        reading.ahead.take(job("bad"))


def test_a_database_that_does_not_answer_ends_nothing(reading: Reading, monkeypatch: pytest.MonkeyPatch) -> None:
    def away() -> list[Job]:
        raise DatabaseError("connection refused")

    monkeypatch.setattr(reading.ahead, "look", away)
    reading.begin([], [])
    assert not reading.ahead.coming


def test_the_next_picture_is_read_while_a_clip_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Patient(QuickAnimator):
        def animate(self, *given: Any) -> Any:
            seen.append(began.wait(60))
            at.stopping.set()
            return super().animate(*given)

    app = create_app(ServeSettings(data=tmp_path, max_batch=1), open_quick)
    service, seen, began = app.service, list[bool](), threading.Event()
    service.supervisor.model_info = CARD
    first, second = [asyncio.run(service.accept(Order(seed=i), png(), "")) for i in range(2)]
    (tmp_path / "scratch").mkdir()
    ours, theirs = Pipe()
    duty = Duty(service.settings, service.database, "cpu", "m:0:w", open_quick)
    at = Worker(duty, theirs, Patient(), service.store, service.jobs)
    read = at.ahead.read
    monkeypatch.setattr(at.ahead, "read", lambda job: (job.id == second.id and began.set(), read(job))[1])
    running = threading.Thread(target=at.run)
    running.start()
    running.join(120)
    PIPES.append(ours)  # closed, it would end this process
    left = [found.status for job in (first, second) if (found := service.jobs.get(job.id))]
    service.stop()
    assert seen == [True] and left == ["completed", "queued"]


PIPES: list[Any] = []
