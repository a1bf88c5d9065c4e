"""Jobs in SQL: SQLite for one machine, PostgreSQL for several, by the same statements.

A job is queued, in_progress, completed, failed or cancelled. Who claims one holds it by a lease; a lease that is not
renewed in time, or whose holder is known to be dead, gives the job back. Times are seconds since 1970.
"""

import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, fields
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import (
    Column,
    Double,
    Engine,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    and_,
    case,
    create_engine,
    delete,
    event,
    func,
    insert,
    inspect,
    literal,
    make_url,
    or_,
    select,
    text,
    update,
)
from sqlalchemy.exc import ProgrammingError, SQLAlchemyError

from sfv.errors import QueueFull, SfvError
from sfv.serve.errors import database_error
from sfv.serve.job import OPEN, PASSING, Job

CRASHES = 3
"""Workers that a job may take with it before it fails."""
LONGEST_PAUSE = 60.0
"""Seconds that a job which is given back may have to pause."""
ANSWERS = {
    "connect_timeout": 10,
    "tcp_user_timeout": 20_000,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 2,
}
"""How PostgreSQL's client notices that the other machine is gone: seconds, milliseconds, seconds, seconds, times."""
LEFT = 3600.0
"""Seconds after which a job whose sender waits for the clip has none any more, however that came about."""
KILLED = f"the worker died {CRASHES} times while it made this clip; another picture or smaller settings may work"
TABLE = Table(
    "sfv_jobs",
    MetaData(),
    Column("id", String(40), primary_key=True),
    Column("owner", String(40), nullable=False),
    Column("model", String(200), nullable=False),
    Column("kind", String(64), key="batch_key", nullable=False),
    Column("settings", Text, nullable=False),
    Column("format", String(8), nullable=False),
    Column("status", String(16), nullable=False),
    Column("progress", Integer, nullable=False),
    Column("created", Double, nullable=False),
    Column("ready", Double, nullable=False),
    Column("deadline", Double, nullable=False),
    Column("started", Double),
    Column("finished", Double),
    Column("expires", Double),
    Column("worker", String(120), nullable=False),
    Column("lease", Double, nullable=False),
    Column("crashes", Integer, nullable=False),
    Column("size", Integer, nullable=False),
    Column("code", String(40), nullable=False),
    Column("error", Text, nullable=False),
    Column("shape", String(24)),
    Index("sfv_jobs_waiting", "status", "model", "created"),
    Index("sfv_jobs_owned", "owner", "created"),
    Index("sfv_jobs_expiry", "expires"),
)
C = TABLE.c


def job_of(row: Mapping[Any, Any]) -> Job:
    """A row of the table. The column of `batch_key` is called kind, as in databases of earlier versions."""
    return Job(**{column.key: row[column] for column in C})


class Jobs:
    """The table of jobs. Every method is one or two short transactions; DatabaseError if they cannot be made."""

    def __init__(self, url: str, patient: bool = True) -> None:
        """`patient`: a commit waits for the disk. A worker need not: a mark of its that a power cut takes away only has
        a job made again (SQLite alone; what is accepted, the server commits)."""
        self.local = url.startswith("sqlite")
        try:
            self.engine = _engine(url, patient)
            self.hasty = _engine(url, False) if self.local and patient else self.engine
            self._make_table()
        except ImportError as error:
            raise SfvError('a PostgreSQL database needs psycopg; pip install "sfv[postgres]"') from error
        except SQLAlchemyError as error:
            raise database_error(error) from error

    def _make_table(self) -> None:
        """Servers that start at the same moment are in each other's way: whoever comes second finds the table made."""
        for pause in (0.1, 0.3, 1.0):
            try:
                self._made()
                return
            except SQLAlchemyError:
                time.sleep(pause)
        self._made()

    def _made(self) -> None:
        """The table; one of an earlier version gets the column that came since, which servers of that version leave."""
        TABLE.metadata.create_all(self.engine)
        if not any(column["name"] == "shape" for column in inspect(self.engine).get_columns(TABLE.name)):
            change = f"ALTER TABLE {TABLE.name} ADD COLUMN shape VARCHAR(24)"
            with self.engine.begin() as connection:
                try:
                    connection.execute(text(change))
                except ProgrammingError as error:
                    if "owner" not in str(error.orig):
                        raise
                    raise SfvError(f"the jobs' table is of an earlier version; let its owner run: {change}") from error

    def close(self) -> None:
        """Give the connections back."""
        self.engine.dispose()
        self.hasty.dispose()

    def _rows(self, statement: Any, engine: Engine | None = None) -> list[Job]:
        try:
            with (engine or self.engine).begin() as connection:
                return [job_of(row) for row in connection.execute(statement).mappings()]
        except SQLAlchemyError as error:
            raise database_error(error) from error

    def _count(self, statement: Any, engine: Engine | None = None) -> int:
        try:
            with (engine or self.engine).begin() as connection:
                return int(connection.execute(statement).rowcount)
        except SQLAlchemyError as error:
            raise database_error(error) from error

    def add(self, job: Job, limit: int) -> None:
        """Put a job at the end of the queue; QueueFull if `limit` jobs of its model wait.

        On PostgreSQL requests in flight at the same moment may exceed the limit by their number.
        """
        names = [f.name for f in fields(Job)]
        values = [literal(v, TABLE.c[k].type).label(k) for k, v in asdict(job).items()]
        waiting = select(func.count()).select_from(TABLE).where(C.status == "queued", C.model == job.model)
        row = select(*values).where(waiting.scalar_subquery() < limit)
        new = insert(TABLE).from_select(names, row).returning(TABLE)
        if not self._rows(new, self._engine_of(job)):  # PostgreSQL counts no such rows
            raise QueueFull(f"{limit} jobs are waiting, which is as many as may; try again later")

    def get(self, name: str, owner: str = "") -> Job | None:
        """A job by its id, if it is the owner's ("" where nobody needs a key)."""
        found = self._rows(select(TABLE).where(C.id == name, C.owner == owner))
        return found[0] if found else None

    def some(self, names: Collection[str]) -> dict[str, Job]:
        """Jobs by their ids, whoever's they are; those that there are."""
        return {job.id: job for job in self._rows(select(TABLE).where(C.id.in_(names)))}

    def page(self, owner: str, limit: int, after: Job | None, newest_first: bool) -> list[Job]:
        """Up to `limit` of the owner's jobs by age, those that come after a given one; none whose sender waits."""
        query = select(TABLE).where(C.owner == owner, ~_passing())
        if after:
            past, same = (C.created < after.created, C.id < after.id)
            if not newest_first:
                past, same = (C.created > after.created, C.id > after.id)
            query = query.where(or_(past, and_(C.created == after.created, same)))
        order = (C.created.desc(), C.id.desc()) if newest_first else (C.created, C.id)
        return self._rows(query.order_by(*order).limit(limit))

    def waiting(self, model: str) -> int:
        """How many jobs of a model are queued."""
        return self.counts(model).get("queued", 0)

    def waiting_of(self, model: str, owner: str) -> int:
        """How many of them are an owner's."""
        mine = (C.owner == owner, C.status == "queued", C.model == model)
        try:
            with self.engine.begin() as connection:
                return int(connection.execute(select(func.count()).select_from(TABLE).where(*mine)).scalar_one())
        except SQLAlchemyError as error:
            raise database_error(error) from error

    def counts(self, model: str) -> dict[str, int]:
        """How many jobs of a model have each status."""
        query = select(C.status, func.count()).where(C.model == model).group_by(C.status)
        try:
            with self.engine.begin() as connection:
                return {str(status): int(count) for status, count in connection.execute(query)}
        except SQLAlchemyError as error:
            raise database_error(error) from error

    def claim(self, worker: str, model: str, most: int, lease: float, batch_key: str = "") -> list[Job]:
        """Take the oldest waiting job (of `batch_key`, if given) and up to `most` - 1 like it; [] if none waits.

        A job that has already cost a worker its life is taken alone. On PostgreSQL rows that another machine is
        taking are passed over (FOR UPDATE SKIP LOCKED); SQLite has one writer at a time.
        """
        now = time.time()
        free = _free(model, now)
        free = and_(free, C.batch_key == batch_key, C.crashes == 0) if batch_key else free
        line = select(TABLE).where(free).order_by(C.created, C.id)
        head = self._rows(line.limit(1).with_for_update(skip_locked=True))
        if not head:
            return []
        alike = C.id == head[0].id
        if not head[0].crashes and most > 1:
            alike = and_(C.batch_key == head[0].batch_key, C.crashes == 0)
        same = select(C.id).where(free, alike).order_by(C.created, C.id).limit(most)
        picked = same.with_for_update(skip_locked=True).cte("picked")
        mine = update(TABLE).where(C.id.in_(select(picked.c.id)), C.status == "queued")
        taken = mine.values(status="in_progress", worker=worker, lease=now + lease, started=now, progress=0)
        return sorted(self._rows(taken.returning(TABLE)), key=lambda job: (job.created, job.id))

    def coming(self, model: str, most: int) -> list[Job]:
        """What a claim would take now, but for jobs that have cost a worker its life; nothing is claimed."""
        free = and_(_free(model, time.time()), C.crashes == 0)
        line = select(TABLE).where(free).order_by(C.created, C.id)
        head = self._rows(line.limit(1))
        return self._rows(line.where(C.batch_key == head[0].batch_key).limit(most)) if head and most > 1 else head

    def beat(self, worker: str, lease: float) -> set[str]:
        """Renew the leases of what a worker holds; the ids that it still holds (others were cancelled)."""
        mine = update(TABLE).where(C.worker == worker, C.status == "in_progress").values(lease=time.time() + lease)
        return {job.id for job in self._rows(mine.returning(TABLE))}

    def report_progress(self, names: Sequence[str], worker: str, progress: int) -> None:
        """How far running jobs are, 0 to 100."""
        mine = (C.id.in_(names), C.worker == worker, C.status == "in_progress")
        self._count(update(TABLE).where(*mine).values(progress=progress))

    def finish(self, name: str, worker: str, size: int, keep: float) -> bool:
        """The clip of `size` bytes is kept; False if the job is no longer the worker's, and nothing changes."""
        now = time.time()
        mine = (C.id == name, C.worker == worker, C.status == "in_progress")
        done = {"status": "completed", "progress": 100, "size": size, "finished": now, "expires": now + keep}
        return bool(self._count(update(TABLE).where(*mine).values(**done, code="", error="")))

    def fail(self, name: str, worker: str, code: str, why: str, keep: float) -> bool:
        """A running job has failed, with one sentence; False if it is no longer the worker's."""
        mine = (C.id == name, C.worker == worker, C.status == "in_progress")
        return bool(self._count(update(TABLE).where(*mine).values(**_failed(code, why, keep))))

    def give_back(self, worker: str, names: Iterable[str] | None = None, pause: float = 0, why: str = "") -> int:
        """Running jobs (all of a worker's if none are named) wait again, in their old place, after `pause` seconds: up
        to LONGEST_PAUSE."""
        mine = [C.worker == worker, C.status == "in_progress"]
        if names is not None:
            mine.append(C.id.in_(list(names)))
        ready = time.time() + pause if pause else 0.0
        again = {"status": "queued", "worker": "", "progress": 0, "ready": ready, "error": why}
        return self._count(update(TABLE).where(*mine).values(**again))

    def give_back_dead(self, worker: str, keep: float) -> list[Job]:
        """A worker has died: what it held waits again, or fails if it has cost too many workers."""
        return self._crashed(C.worker == worker, keep)

    def give_back_lost(self, keep: float, living: Sequence[str] = ()) -> list[Job]:
        """The same for every lease that has run out, but for those of workers that are known to be alive: if theirs
        seem to have, the clock was set forward."""
        return self._crashed(and_(C.lease < time.time(), C.worker.not_in(living)), keep)

    def _crashed(self, whose: Any, keep: float) -> list[Job]:
        last = C.crashes + 1 >= CRASHES
        values: dict[str, Any] = {
            k: case((last, v), else_=TABLE.c[k]) for k, v in _failed("worker_died", KILLED, keep).items()
        }
        values |= {"status": case((last, "failed"), else_="queued"), "worker": "", "crashes": C.crashes + 1}
        return self._rows(update(TABLE).where(C.status == "in_progress", whose).values(**values).returning(TABLE))

    def give_back_machine(self, machine: str) -> int:
        """A server starts: what its earlier life left running waits again, and is not blamed."""
        mine = (C.worker.startswith(f"{machine}:", autoescape=True), C.status == "in_progress")
        return self._count(update(TABLE).where(*mine).values(status="queued", worker="", progress=0))

    def cancel(self, name: str, owner: str, keep: float) -> Job | None:
        """Cancel a job that waits or runs; None if it does neither."""
        now = time.time()
        mine = update(TABLE).where(C.id == name, C.owner == owner, C.status.in_(OPEN))
        gone = mine.values(status="cancelled", worker="", finished=now, expires=now + keep)
        found = self._rows(gone.returning(TABLE))
        return found[0] if found else None

    def remove(self, job: Job) -> None:
        """Forget a job."""
        self._count(delete(TABLE).where(C.id == job.id), self._engine_of(job))

    def _engine_of(self, job: Job) -> Engine:
        return self.hasty if job.passing else self.engine

    def fail_overdue(self, keep: float) -> list[Job]:
        """Jobs that have waited past their deadline fail; their error says why they waited, if that is known."""
        late = update(TABLE).where(C.status == "queued", C.deadline < time.time())
        why = case((C.error != "", C.error), else_="the job waited longer than its deadline; try again later")
        values = _failed("deadline", "", keep) | {"error": why}
        return self._rows(late.values(**values).returning(TABLE))

    def passing(self, machine: str) -> list[Job]:
        """A server starts: jobs whose senders waited for its earlier life, which nobody does any more."""
        if not machine:  # every machine's jobs begin with it
            return []
        return self._rows(select(TABLE).where(_passing(machine)))

    def expired(self) -> list[Job]:
        """Finished jobs that need not be kept any longer."""
        now = time.time()
        over = or_(C.expires < now, and_(_passing(), C.created < now - LEFT))
        return self._rows(select(TABLE).where(over, C.status.not_in(OPEN)).limit(1000))

    def known(self, names: Sequence[str]) -> set[str]:
        """Which of these jobs there are."""
        return set(self.some(names))


def sqlite_url(folder: Path) -> str:
    """The usual database of a server's data folder."""
    return f"sqlite:///{folder.resolve() / 'jobs.sqlite3'}"


def _free(model: str, now: float) -> Any:
    """Whether a row may be claimed."""
    ready = or_(C.ready <= now, C.ready > now + LONGEST_PAUSE)  # the clock may have been set back since
    return and_(C.status == "queued", C.model == model, ready, C.deadline > now)


def _passing(machine: str = "") -> Any:
    """Whether a row's sender waits for its clip (at a machine)."""
    return C.id.startswith(f"{PASSING}{machine}", autoescape=True)


def _failed(code: str, why: str, keep: float) -> dict[str, Any]:
    now = time.time()
    return {"status": "failed", "code": code, "error": why, "finished": now, "expires": now + keep}


def _engine(url: str, patient: bool) -> Engine:
    if not url.startswith("sqlite"):
        given = {name: number for name, number in ANSWERS.items() if name not in make_url(url).query}
        return create_engine(url, pool_pre_ping=True, connect_args=given)
    engine = create_engine(url, connect_args={"timeout": 20, "check_same_thread": False})
    event.listen(engine, "connect", partial(_prepare, patient))
    return engine


def _prepare(patient: bool, connection: Any, _: Any) -> None:
    """Readers beside one writer."""
    for pragma in ("journal_mode=WAL", f"synchronous={'FULL' if patient else 'NORMAL'}", "busy_timeout=20000"):
        connection.execute(f"PRAGMA {pragma}").close()
