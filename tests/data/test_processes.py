"""Worker processes that die: their jobs are tried again alone, what kills is left out, the others are done."""

import os
import signal
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from sfv.data.processes import done_by_processes


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


def count(job: Count) -> int:
    """How many parts; "kill" kills always, "once" the first time."""
    done = 0
    for part in job.parts:
        if part in job.left_out:
            continue
        job.mark.write_text(part)
        first = job.folder / f"{job.number}.{part}.seen"
        if part == "kill" or (part == "once" and not first.exists()):
            first.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        done += 1
    job.mark.unlink(missing_ok=True)
    return done


@pytest.mark.parametrize(("parts", "want"), [(("a", "kill", "b"), 2), (("a", "once", "b"), 3), (("kill",), 0)])
def test_the_others_go_on(tmp_path: Path, parts: tuple[str, ...], want: int) -> None:
    jobs = [Count(i, parts if i == 1 else ("a", "b", "c"), tmp_path) for i in range(4)]
    done = {job.number: result for job, result in done_by_processes(count, jobs, 2, ready, ())}
    assert done == {0: 3, 1: want, 2: 3, 3: 3}
    assert not list(tmp_path.glob("*.mark"))


SCRIPT = """
from pathlib import Path
import test_processes as t
from sfv.data.processes import done_by_processes
print(list(done_by_processes(t.count, [t.Count(i, ("a",), Path(".")) for i in range(2)], 2, t.ready, ())))
"""


def test_a_script_without_its_guard_ends_with_one_sentence(tmp_path: Path) -> None:
    """Each worker runs the script again, which would start workers of its own for ever."""
    (tmp_path / "careless.py").write_text(SCRIPT)
    env = os.environ | {"PYTHONPATH": f"{Path(__file__).parent}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
    done = subprocess.run(
        [sys.executable, "careless.py"], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 1
    assert done.stderr.strip().splitlines()[-1].startswith("sfv.errors.SfvError: worker processes ended before they")
