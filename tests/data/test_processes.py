"""Worker processes that die: their jobs are tried again alone, what kills is left out, the others are done."""

import os
import signal
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from sfv.data.processes import done_by_processes
from sfv.errors import UNGUARDED, SfvError


@dataclass(frozen=True)
class Count:
    """Parts that are counted; one of them may kill its process, always or once."""

    number: int
    parts: tuple[str, ...]
    folder: Path
    left_out: tuple[str, ...] = ()

    @property
    def mark(self) -> Path:
        return self.folder / f"{self.number}.mark"

    def without(self, part: str) -> "Count":
        return replace(self, left_out=(*self.left_out, part))


def ready() -> None:
    """Nothing to do at the start."""


ENDS = {
    "killed": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "silent": lambda: os._exit(0),
    "memory": lambda: bytearray(1 << 62),
    "allocator": lambda: __import__("torch").empty(1 << 60),  # not for every process: it takes long
}
"""How a process may end at a part of this name; at one that also says "once", the first time alone."""


def count(job: Count) -> int:
    """How many parts."""
    done = 0
    for part in job.parts:
        if part in job.left_out:
            continue
        seen = job.folder / f"{job.number}.{part}.seen"
        ends = part.split()[0] in ENDS and not ("once" in part and seen.exists())
        seen.touch()  # before the mark: the death of another process, which ends this one too, may come between
        job.mark.write_text(part)
        if ends:
            ENDS[part.split()[0]]()
        done += 1
    job.mark.unlink(missing_ok=True)
    return done


WELL = ("a", "b", "c")


DEATHS: list[tuple[list[tuple[str, ...]], list[int]]] = [
    ([WELL, ("a", "killed", "b"), WELL, WELL], [3, 2, 3, 3]),
    ([WELL, ("a", "killed once", "b"), WELL, WELL], [3, 3, 3, 3]),
    ([WELL, ("killed",), WELL, WELL], [3, 0, 3, 3]),
    ([("killed once", "a"), WELL, WELL], [2, 3, 3]),
    ([("killed",), ("killed",), ("killed",)], [0, 0, 0]),
    ([("killed once",), ("killed once",), ("killed once",)], [1, 1, 1]),
    ([("silent", "a"), WELL, WELL], [1, 3, 3]),
    ([WELL, WELL, ("a", "silent once")], [3, 3, 2]),
    ([("memory", "a"), WELL, WELL], [1, 3, 3]),
    ([WELL, ("a", "memory once"), WELL], [3, 2, 3]),
    ([("a", "allocator", "b"), WELL, WELL], [2, 3, 3]),
    ([("killed", "a", "silent", "b"), WELL, WELL], [2, 3, 3]),
    ([("killed", "a"), ("b", "memory", "c"), WELL], [1, 2, 3]),
    ([("killed", "killed once", "a"), WELL, WELL], [2, 3, 3]),
    ([("killed once", "a", "silent once", "b"), WELL, WELL], [4, 3, 3]),
]


@pytest.mark.parametrize(("parts", "want"), DEATHS, ids=["; ".join(map(" ".join, parts)) for parts, _ in DEATHS])
def test_the_others_go_on(tmp_path: Path, parts: list[tuple[str, ...]], want: list[int]) -> None:
    jobs = [Count(i, p, tmp_path) for i, p in enumerate(parts)]
    done = {job.number: result for job, result in done_by_processes(count, jobs, 2, ready, ())}
    assert [done[i] for i in range(len(jobs))] == want
    assert not list(tmp_path.glob("*.mark"))


def fails(job: Count) -> int:
    """A fault of the program."""
    job.mark.write_text(job.parts[0])
    raise RuntimeError("odd")


def test_a_fault_of_the_program_is_not_taken_for_a_death(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="odd"):
        list(done_by_processes(fails, [Count(0, WELL, tmp_path)], 2, ready, ()))


@pytest.mark.parametrize("end", ["killed", "silent"])
def test_a_process_that_ends_while_it_starts_is_one_sentence(tmp_path: Path, end: str) -> None:
    """As one does that has no memory for the model."""
    jobs = [Count(i, WELL, tmp_path) for i in range(2)]
    with pytest.raises(SfvError, match=r"^worker processes ended while they started \(often for want of memory\); use"):
        list(done_by_processes(count, jobs, 2, ends, (end,)))


def ends(end: str) -> None:
    """A start that is none."""
    ENDS[end]()


WORK = """
from pathlib import Path
import test_processes as t
from sfv.data.processes import done_by_processes

def main():
    jobs = [t.Count(i, ("a",), Path(".")) for i in range(2)]
    print("done", sum(n for _, n in done_by_processes(t.count, jobs, 2, t.ready, ())))

"""
CARELESS, GUARDED = WORK + "main()\n", WORK + "if __name__ == '__main__':\n    main()\n"
RUNPY = "import runpy; runpy.run_path('script.py', run_name='__main__')"


def ran(tmp_path: Path, text: str, *words: str, stdin: bool = False) -> subprocess.CompletedProcess[str]:
    """Python with these words, beside a script.py of this text, or with it as its input."""
    (tmp_path / "script.py").write_text(text)
    env = os.environ | {"PYTHONPATH": f"{Path(__file__).parent}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
    fed = {"input": text} if stdin else {"stdin": subprocess.DEVNULL}
    command = [sys.executable, *words]
    return subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=300, **fed)  # type: ignore[call-overload,no-any-return]


@pytest.mark.parametrize(
    ("text", "words", "stdin"),
    [
        (CARELESS, ("script.py",), False),
        (CARELESS, ("-m", "script"), False),
        (CARELESS, ("-c", RUNPY), False),
        (CARELESS, ("-",), True),
        (GUARDED, ("-",), True),
    ],
    ids=["file", "module", "runpy", "input", "guarded input"],
)
def test_a_script_that_workers_cannot_run_ends_with_one_sentence(
    tmp_path: Path, text: str, words: tuple[str, ...], stdin: bool
) -> None:
    """Each worker runs the script again: unguarded it would start workers for ever, and an input is no file to run."""
    done = ran(tmp_path, text, *words, stdin=stdin)
    assert done.returncode == 1 and "done" not in done.stdout
    said = [line for line in done.stderr.strip().splitlines() if "resource_tracker" not in line]
    assert said[-1] == f"sfv.errors.SfvError: {UNGUARDED}", "Python's tracker of semaphores may speak after it"
    assert 'must be a file and start its work under if __name__ == "__main__":' in UNGUARDED


@pytest.mark.parametrize(
    ("text", "words"),
    [(GUARDED, ("script.py",)), (GUARDED, ("-m", "script")), (GUARDED, ("-c", RUNPY)), (GUARDED, ("-c", CARELESS))],
    ids=["file", "module", "runpy", "words"],
)
def test_a_script_that_workers_can_run_is_run(tmp_path: Path, text: str, words: tuple[str, ...]) -> None:
    done = ran(tmp_path, text, *words)
    assert (done.returncode, done.stdout) == (0, "done 2\n")
