"""A crash may tear a file's last line; nothing else of a run's figures is lost by it."""

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter
from toys import Toy

from sfv.errors import SfvError
from sfv.training.config import Schedule
from sfv.training.health import read_alarms
from sfv.training.history import read_history
from sfv.training.lines import append_lines, read_lines
from sfv.training.loop import run
from sfv.training.report import write_report

Row = TypeAdapter(dict[str, float]).validate_python


def test_what_is_appended_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    assert read_lines(path, Row) == []
    append_lines(path, [{"step": 1.0}])
    append_lines(path, [{"step": 2.0}, {"step": 3.0}])
    assert read_lines(path, Row) == [{"step": 1}, {"step": 2}, {"step": 3}]


@pytest.mark.parametrize(("end", "kept"), [('{"step": 2, "lo', 1), ('{"step": 2}', 2), ("", 1), ("{}x", 1)])
def test_a_torn_last_line_is_left_out_and_a_new_one_begun(tmp_path: Path, end: str, kept: int) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text('{"step": 1}\n' + end)
    assert len(read_lines(path, Row)) == kept
    append_lines(path, [{"step": 9}])
    assert [r["step"] for r in read_lines(path, Row)] == [*range(1, kept + 1), 9]
    assert path.read_text().endswith('\n{"step": 9}\n')


@pytest.mark.parametrize("bad", ['{"step": 1, "{"step": 2}', "[1]", '{"step": "x"}', "\xff", "[" * 100000])
def test_other_damage_is_one_sentence(tmp_path: Path, bad: str) -> None:
    (tmp_path / "log.jsonl").write_bytes(b'{"step": 1}\n' + bad.encode("latin-1") + b'\n{"step": 3}\n')
    with pytest.raises(SfvError, match="log.jsonl: line 2 is damaged .*; delete that line"):
        read_lines(tmp_path / "log.jsonl", Row)


def go(folder: Path, steps: int) -> None:
    plan = Schedule(steps=steps, warmup=0, log_every=1)
    run(Toy(), plan, folder, {"task": "toy", **plan.model_dump()})


def test_a_run_that_was_torn_goes_on_and_is_reported(tmp_path: Path) -> None:
    go(tmp_path, 3)
    with open(tmp_path / "log.jsonl", "a") as file:
        file.write('{"step": 4.0, "lo')
    assert "step 3" in write_report(tmp_path).read_text()
    go(tmp_path, 5)
    rows: list[dict[str, Any]] = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [1, 2, 3, 4, 5]
    assert "step 5" in write_report(tmp_path).read_text()


@pytest.mark.parametrize("text", ["{\n{}\n", '{"step": 3}\n', "[]\n"])
def test_damaged_alarms_and_history_are_one_sentence(tmp_path: Path, text: str) -> None:
    for name, read in (("alarms.jsonl", read_alarms), ("history.jsonl", read_history)):
        (tmp_path / name).write_text(text)
        with pytest.raises(SfvError, match=f"{name}: line 1 is damaged"):
            read(tmp_path)
