"""A run as a page: of one stage and of several, before its first figures, beside what others wrote."""

from pathlib import Path

import pytest
from toys import Toy

from sfv.cli.main import main
from sfv.errors import SfvError
from sfv.training.config import Schedule
from sfv.training.loop import run
from sfv.training.report import write_report, write_reports


def go(folder: Path, steps: int = 4, log_every: int = 2) -> None:
    plan = Schedule(steps=steps, warmup=0, log_every=log_every)
    run(Toy(), plan, folder, {"task": "toy", **plan.model_dump()})


def test_every_stage_has_a_page_and_the_command_prints_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "student"
    for stage in ("0", "1", "10"):
        go(folder / stage)
    (folder / "endpoints").mkdir()
    go(folder / "11", log_every=20)
    assert main(["report", str(folder)]) == 0
    printed = capsys.readouterr()
    assert printed.out.split() == [str(folder / n / "report.html") for n in ("0", "1", "10")]
    assert "11 has no log.jsonl with figures yet: the first come after log_every=20 steps" in printed.err
    assert "student, stage 10: step 4" in (folder / "10" / "report.html").read_text()


def test_stages_are_drawn_before_those_of_the_same_number(tmp_path: Path) -> None:
    for name in ("a", "b"):
        go(tmp_path / name / "0")
    go(tmp_path / "a" / "1")
    go(tmp_path / "b" / "1", steps=8)
    pages, missing = write_reports(tmp_path / "a", tmp_path / "b")
    assert ["step 8" in page.read_text() for page in pages] == [False, True] and not missing
    with pytest.raises(SfvError, match="is not a readable log.jsonl"):
        write_reports(tmp_path / "a", tmp_path / "nowhere")


def test_a_run_before_its_first_figures_says_when_they_come(tmp_path: Path) -> None:
    go(tmp_path / "a", log_every=50)
    with pytest.raises(SfvError, match="a has no log.jsonl with figures yet: the first come after log_every=50 steps"):
        write_reports(tmp_path / "a")
    with pytest.raises(SfvError, match="b holds no readable config.json"):
        write_reports(tmp_path / "b")


def test_a_page_of_others_is_left_as_it_is(tmp_path: Path) -> None:
    go(tmp_path)
    (tmp_path / "report.html").write_text("<!doctype html><title>mine</title>")
    with pytest.raises(SfvError, match="report.html is there and was not written by sfv; move it away"):
        write_report(tmp_path)
    assert "mine" in (tmp_path / "report.html").read_text()
    (tmp_path / "report.html").unlink()
    assert write_report(tmp_path) == write_report(tmp_path), "its own is replaced"
