"""Jobs on SQLite and on a real PostgreSQL, files in a folder and in an S3-type store: the same tests for each."""

import os
import shutil
import subprocess
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, text

from sfv.errors import DatabaseError, QueueFull, SfvError, StoreError
from sfv.serve.job import Job
from sfv.serve.jobs import CRASHES, Jobs, _engine
from sfv.serve.service import passing_name
from sfv.serve.store import Folder, Store, open_store
from sfv.settings import Settings

BINARIES = sorted(Path("/usr/lib/postgresql").glob("*/bin"))


def as_postgres(*command: str | Path) -> list[str]:
    """PostgreSQL refuses to run as root."""
    drop = ["setpriv", "--reuid", "postgres", "--regid", "postgres", "--clear-groups"] if os.geteuid() == 0 else []
    return [*drop, *map(str, command)]


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    """URL of a PostgreSQL server of our own: a new cluster in a temporary folder, on a Unix socket alone."""
    if not BINARIES:
        pytest.skip("no PostgreSQL under /usr/lib/postgresql; apt-get install postgresql")
    folder = Path(tempfile.mkdtemp(prefix="sfv-pg-"))
    try:
        if os.geteuid() == 0:
            shutil.chown(folder, "postgres", "postgres")
        make = (BINARIES[-1] / "initdb", "-D", folder / "data", "-U", "sfv", "-A", "trust", "-E", "UTF8", "--no-sync")
        subprocess.run(as_postgres(*make), check=True, capture_output=True)
        options = ("-D", folder / "data", "-k", folder, "-c", "listen_addresses=", "-c", "fsync=off")
        server = subprocess.Popen(as_postgres(BINARIES[-1] / "postgres", *options), stderr=subprocess.DEVNULL)
        try:
            yield _answering(f"postgresql+psycopg://sfv@/postgres?host={folder}")
        finally:
            server.terminate()
            server.wait(120)
    finally:
        shutil.rmtree(folder)


def _answering(url: str) -> str:
    for _ in range(1200):
        try:
            Jobs(url).close()
            return url
        except DatabaseError:
            time.sleep(0.1)
    raise AssertionError("PostgreSQL did not start within 120 s")


@pytest.fixture(params=["sqlite", "postgres"])
def jobs(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Jobs]:
    url = f"sqlite:///{tmp_path}/jobs" if request.param == "sqlite" else request.getfixturevalue("postgres")
    found = Jobs(url)
    with found.engine.begin() as connection:
        connection.execute(text("DELETE FROM sfv_jobs"))
    yield found
    found.close()


def job(age: float = 0, kind: str = "a", owner: str = "", wait: float = 100) -> Job:
    now = time.time()
    said = Settings(frames=4, height=32, width=32, fps=7).model_dump_json()
    at = {"created": now - age, "ready": now - age, "deadline": now + wait}
    mine = {"id": f"video_{uuid.uuid4().hex}", "owner": owner, "model": "m"}
    return Job(**mine, batch_key=kind, settings=said, format="mp4", **at)  # type: ignore[arg-type]


def test_what_is_put_in_comes_out(jobs: Jobs) -> None:
    given = job(owner="anna")
    jobs.add(given, 1)
    assert jobs.get(given.id, "anna") == given and jobs.get(given.id) is None
    with pytest.raises(QueueFull):
        jobs.add(job(), 1)
    assert jobs.counts("m") == {"queued": 1} and jobs.counts("other") == {}
    jobs.remove(given)
    assert jobs.get(given.id, "anna") is None


def test_a_table_of_an_earlier_version_gets_the_column_that_came_since(jobs: Jobs) -> None:
    """Once, by whichever of several servers comes first; rows stay."""
    before, later = job(), replace(job(), shape="300x200")
    jobs.add(before, 9)
    with jobs.engine.begin() as connection:
        connection.execute(text("ALTER TABLE sfv_jobs DROP COLUMN shape"))
    url = jobs.engine.url.render_as_string(hide_password=False)
    with ThreadPoolExecutor(4) as servers:
        opened = list(servers.map(Jobs, [url] * 4))
    opened[0].add(later, 9)
    assert opened[1].get(before.id) == before and opened[2].get(later.id) == later
    for one in opened:
        one.close()


def test_the_oldest_is_taken_first_with_those_of_its_kind(jobs: Jobs) -> None:
    rows = [job(9, "a"), job(8, "b"), job(7, "a"), job(6, "a")]
    for row in reversed(rows):
        jobs.add(row, 10)
    assert [j.id for j in jobs.claim("w", "m", 2, 10)] == [rows[0].id, rows[2].id]
    assert jobs.claim("w", "m", 2, 10, batch_key="c") == []
    assert [j.id for j in jobs.claim("w", "m", 2, 10)] == [rows[1].id]
    assert [j.status for j in jobs.claim("w", "m", 2, 10)] == ["in_progress"]
    assert jobs.claim("w", "m", 2, 10) == [] and jobs.claim("w", "other", 2, 10) == []


def test_what_a_claim_would_take_can_be_read_without_one(jobs: Jobs) -> None:
    rows = [job(9, "a"), job(8, "b"), job(7, "a"), job(6, "a")]
    deadly = replace(job(10, "a"), crashes=1)
    for row in [deadly, *rows]:
        jobs.add(row, 10)
    assert jobs.coming("m", 2) == [rows[0], rows[2]] and jobs.coming("m", 1) == [rows[0]]
    assert jobs.coming("other", 2) == [] and jobs.counts("m") == {"queued": 5}


def test_no_job_is_given_to_two_workers(jobs: Jobs) -> None:
    names = [job(100 - i, str(i % 3)) for i in range(60)]
    for row in names:
        jobs.add(row, 100)
    taken: dict[str, list[str]] = {f"w{i}": [] for i in range(6)}

    def work(who: str) -> None:
        misses = 0
        while misses < 5:  # a row that another is taking at this moment is passed over
            found = jobs.claim(who, "m", 4, 10)
            taken[who] += [j.id for j in found]
            misses = 0 if found else misses + 1

    threads = [threading.Thread(target=work, args=(who,)) for who in taken]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(n for some in taken.values() for n in some) == sorted(j.id for j in names)


def test_only_the_holder_ends_a_job(jobs: Jobs) -> None:
    row = job()
    jobs.add(row, 10)
    jobs.claim("w", "m", 1, 10)
    assert not jobs.finish(row.id, "other", 5, 10) and not jobs.fail(row.id, "other", "x", "y", 10)
    jobs.report_progress([row.id], "w", 40)
    held = jobs.get(row.id)
    assert held and (held.status, held.progress) == ("in_progress", 40)
    assert jobs.finish(row.id, "w", 5, 10) and not jobs.finish(row.id, "w", 5, 10)
    done = jobs.get(row.id)
    assert done and (done.status, done.size, done.progress) == ("completed", 5, 100)
    assert done.expires and done.finished and abs(done.expires - done.finished - 10) < 1e-3


def test_a_dead_workers_jobs_return_and_a_deadly_one_fails(jobs: Jobs) -> None:
    good, bad = job(2), job(1)
    jobs.add(bad, 10)
    for life in range(CRASHES):
        assert [j.id for j in jobs.claim("w", "m", 4, 10)] == [bad.id]
        [after] = jobs.give_back_dead("w", 10)
        assert (after.status, after.crashes) == ("failed" if life == CRASHES - 1 else "queued", life + 1)
        if life == 0:
            jobs.add(good, 10)
            assert [j.id for j in jobs.claim("v", "m", 4, 10)] == [good.id]
    assert "died 3 times" in after.error and jobs.give_back_dead("w", 10) == []


def test_a_lease_that_is_not_renewed_runs_out(jobs: Jobs) -> None:
    kept, lost = job(2), job(1)
    for row, worker, lease in ((kept, "w", 10.0), (lost, "v", 0.1)):
        jobs.add(row, 10)
        jobs.claim(worker, "m", 1, lease)
    assert jobs.beat("w", 10) == {kept.id}
    time.sleep(0.15)
    assert [j.id for j in jobs.give_back_lost(10)] == [lost.id]
    assert not jobs.finish(lost.id, "v", 1, 10)


def test_a_machine_that_starts_again_blames_nobody(jobs: Jobs) -> None:
    rows = [job(3), job(2)]
    for row, worker in zip(rows, ("m_1:0:aa", "mx1:0:bb"), strict=True):
        jobs.add(row, 10)
        jobs.claim(worker, "m", 1, 100)
    assert jobs.give_back_machine("m_1") == 1
    back = jobs.get(rows[0].id)
    assert back and (back.status, back.crashes) == ("queued", 0)


def test_a_machine_without_a_name_has_no_passing_jobs(jobs: Jobs) -> None:
    row = replace(job(), id=passing_name("a1b2c3d4e5f6"))
    jobs.add(row, 10)
    assert jobs.passing("") == [] and jobs.passing("a1b2c3d4e5f6") == [row]


def test_a_pause_is_kept_and_a_reason_told(jobs: Jobs) -> None:
    row = job(wait=3600)
    jobs.add(row, 10)
    jobs.claim("w", "m", 1, 10)
    assert jobs.give_back("w", [row.id], 50, "the disk is full") == 1
    assert jobs.claim("w", "m", 1, 10) == [] and jobs.fail_overdue(10) == []
    with jobs.engine.begin() as connection:
        connection.execute(text("UPDATE sfv_jobs SET deadline = 0"))
    [late] = jobs.fail_overdue(10)
    assert (late.status, late.code, late.error) == ("failed", "deadline", "the disk is full")


def test_a_clock_that_is_set_back_holds_up_no_job(jobs: Jobs) -> None:
    row = replace(job(), ready=time.time() + 3600)
    jobs.add(row, 10)
    assert [j.id for j in jobs.claim("w", "m", 1, 10)] == [row.id]
    jobs.give_back("w")
    again = jobs.get(row.id)
    assert again and again.ready == 0


def test_a_clock_that_is_set_forward_takes_no_job_from_a_living_worker(jobs: Jobs) -> None:
    rows = [job(2), job(1)]
    for row, worker in zip(rows, ("alive", "dead"), strict=True):
        jobs.add(row, 10)
        jobs.claim(worker, "m", 1, -3600)
    assert [j.id for j in jobs.give_back_lost(10, ["alive"])] == [rows[1].id]


def test_cancelled_and_expired(jobs: Jobs) -> None:
    kept, over = job(owner="anna"), job(owner="anna")
    for row in (kept, over):
        jobs.add(row, 10)
    assert jobs.cancel(kept.id, "ben", 3600) is None
    gone = jobs.cancel(kept.id, "anna", 3600)
    assert gone and gone.status == "cancelled" and jobs.cancel(kept.id, "anna", 3600) is None
    assert jobs.expired() == [] and jobs.cancel(over.id, "anna", -1)
    assert [j.id for j in jobs.expired()] == [over.id] and jobs.known([over.id, "x"]) == {over.id}


def test_servers_may_start_at_the_same_moment(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        for found in list(pool.map(Jobs, [f"sqlite:///{tmp_path}/jobs"] * 8)):
            assert found.counts("m") == {}
            found.close()


def test_a_database_that_is_not_there_is_one_sentence() -> None:
    with pytest.raises(DatabaseError) as caught:
        Jobs("postgresql+psycopg://secret:word@127.0.0.1:1/none?connect_timeout=1")
    assert "\n" not in str(caught.value) and "word" not in str(caught.value)


@pytest.mark.parametrize(("query", "seconds"), [("", 10), ("?connect_timeout=3", "3")])
def test_how_long_postgresql_may_not_answer_is_said_to_its_client(query: str, seconds: object) -> None:
    engine, said = _engine(f"postgresql+psycopg://u@127.0.0.1:1/none{query}", True), {}

    def connecting(_: Any, __: Any, ___: Any, how: dict[str, Any]) -> None:
        said.update(how)
        raise InterruptedError

    event.listen(engine, "do_connect", connecting)
    with pytest.raises(InterruptedError):
        engine.connect()
    assert said["connect_timeout"] == seconds and said["tcp_user_timeout"] == 20_000


@pytest.fixture(params=["folder", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    if request.param == "folder":
        yield open_store(None, tmp_path)
        return
    import boto3
    from moto import mock_aws

    for name, value in (("ACCESS_KEY_ID", "x"), ("SECRET_ACCESS_KEY", "x"), ("DEFAULT_REGION", "us-east-1")):
        monkeypatch.setenv(f"AWS_{name}", value)
    with mock_aws():
        boto3.client("s3").create_bucket(Bucket="clips")
        yield open_store("s3://clips/some/where", tmp_path)


def test_files_by_key(store: Store, tmp_path: Path) -> None:
    data = os.urandom(1000)
    (tmp_path / "clip").write_bytes(data)
    assert store.put("a/picture", data) == store.put("a/clip.mp4", tmp_path / "clip") == 1000
    assert store.read("a/clip.mp4") == data and store.read("a/picture", 10, 5) == data[10:15]
    assert sorted(store.keys(time.time() + 5)) == ["a/clip.mp4", "a/picture"] and list(store.keys(0)) == []
    for _ in range(2):
        store.delete("a/picture")
    with pytest.raises(StoreError) as caught:
        store.read("a/picture")
    assert str(tmp_path) not in str(caught.value)


def test_a_bucket_that_is_not_there_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from moto import mock_aws

    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "x")
    with mock_aws(), pytest.raises(StoreError, match="NoSuchBucket|ClientError"):
        open_store("s3://nowhere", tmp_path).put("a/b", b"x")


@pytest.mark.parametrize("key", ["../x", "/etc/passwd", "a/../../x", ""])
def test_no_key_leaves_the_folder(tmp_path: Path, key: str) -> None:
    with pytest.raises(SfvError, match="leaves"):
        Folder(tmp_path / "files").put(key, b"x")


def test_only_what_is_to_last_waits_for_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flushed = []
    monkeypatch.setattr(os, "fsync", flushed.append)
    store = Folder(tmp_path / "files")
    store.put("a/picture", b"x", lasting=False)
    assert not flushed and store.read("a/picture") == b"x"
    store.put("b/picture", b"x")
    assert len(flushed) == 3  # the file, its folder and the folder above


def test_passing_jobs_are_committed_without_waiting_for_the_disk(tmp_path: Path) -> None:
    """SQLite's synchronous is 2 where a commit waits for the disk, 1 where a power cut may undo it."""
    jobs, said = Jobs(f"sqlite:///{tmp_path}/jobs"), []
    for engine in (jobs.engine, jobs.hasty):
        with engine.connect() as connection:
            said.append(connection.execute(text("PRAGMA synchronous")).scalar())
    used: list[str] = []
    for name in ("engine", "hasty"):
        event.listen(getattr(jobs, name), "commit", lambda _, name=name: used.append(name))
    lasting, passing = job(), replace(job(), id=passing_name("a1b2c3d4e5f6"))
    jobs.add(lasting, 9)
    jobs.add(passing, 9)
    jobs.remove(passing)
    jobs.remove(lasting)
    assert said == [2, 1] and used == ["engine", "hasty", "hasty", "engine"]
    assert passing.passing and not lasting.passing
    jobs.close()
