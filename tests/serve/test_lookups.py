"""Jobs by their ids, for many who ask at the same moment."""

import asyncio
from collections.abc import Collection
from pathlib import Path

import pytest
from serving import CARD, open_quick, png

from sfv.errors import DatabaseError
from sfv.serve.job import Job
from sfv.serve.lookups import Lookups
from sfv.serve.routes import create_app
from sfv.serve.service import Service
from sfv.serve.settings import Order, ServeSettings


def job(name: str) -> Job:
    return Job(name, "", "m", "a", "{}", "mp4", 0, 0, 0)


def test_those_who_ask_at_the_same_moment_are_answered_by_one_query() -> None:
    queries: list[set[str]] = []

    def find(names: Collection[str]) -> dict[str, Job]:
        queries.append(set(names))
        return {name: job(name) for name in names if name != "none"}

    async def many() -> list[Job | None]:
        return await asyncio.gather(*(lookups.get(name) for name in ["a", "b", "none", "a"] * 50))

    lookups = Lookups(find)
    assert asyncio.run(many()) == [job("a"), job("b"), None, job("a")] * 50
    assert asyncio.run(lookups.get("c")) == job("c")
    assert queries == [{"a", "b", "none"}, {"c"}]


def test_who_asks_while_a_query_is_under_way_gets_what_is_true_afterwards() -> None:
    async def both() -> list[Job | None]:
        first = asyncio.create_task(lookups.get("a"))
        await begun.wait()
        known["a"] = job("a")
        second = asyncio.create_task(lookups.get("a"))
        await asyncio.sleep(0)
        going.set()
        return [await first, await second]

    async def found(names: Collection[str]) -> dict[str, Job]:
        before = dict(known)
        begun.set()
        await going.wait()
        return before

    def find(names: Collection[str]) -> dict[str, Job]:
        return asyncio.run_coroutine_threadsafe(found(names), loop).result(60)

    with asyncio.Runner() as runner:
        loop, known, lookups = runner.get_loop(), dict[str, Job](), Lookups(find)
        begun, going = asyncio.Event(), asyncio.Event()
        assert runner.run(both()) == [None, job("a")]


def test_an_error_is_everybodys_and_the_next_is_answered() -> None:
    def find(names: Collection[str]) -> dict[str, Job]:
        if "bad" in names:
            raise DatabaseError("connection refused")
        return {}

    async def some() -> list[Job | None | BaseException]:
        left = asyncio.create_task(lookups.get("a"))
        errors = asyncio.gather(lookups.get("bad"), lookups.get("a"), return_exceptions=True)
        await asyncio.sleep(0)
        left.cancel()
        return [*await errors, await lookups.get("a")]

    lookups = Lookups(find)
    first, second, third = asyncio.run(some())
    assert isinstance(first, DatabaseError) and isinstance(second, DatabaseError) and third is None


def test_all_who_follow_jobs_look_at_the_same_moments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[str] = []
    queries: list[int] = []

    async def follow(name: str) -> None:
        async for _ in service.follow(name, "", beat=1000):
            pass

    async def all_follow() -> None:
        name = (await service.accept(Order(), png(), "")).id
        following = []
        for _ in range(20):  # not at the same moment
            following.append(asyncio.create_task(follow(name)))
            await asyncio.sleep(0.007)
        looks.clear()
        queries.clear()
        while len(looks) < 100:
            await asyncio.sleep(0.01)
        for one in following:
            one.cancel()

    service = create_app(ServeSettings(data=tmp_path), open_quick).service
    service.supervisor.model_info = CARD
    get, find = service.lookups.get, service.lookups.find
    monkeypatch.setattr(Service, "pause", 0.14)
    monkeypatch.setattr(service.lookups, "get", lambda name: looks.append(name) or get(name))
    monkeypatch.setattr(service.lookups, "find", lambda names: queries.append(len(names)) or find(names))
    asyncio.run(all_follow())
    service.stop()
    assert len(queries) < len(looks) / 4
