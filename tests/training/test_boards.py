"""Where reports go beside log.jsonl."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from toys import Toy

from sfv.errors import SfvError
from sfv.training.config import Schedule
from sfv.training.loop import run


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_tensorboard_has_every_report(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run(Toy(), Schedule(steps=6, log_every=2, tensorboard=True), tmp_path, {})
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    seen = {e.step: e.value for e in events.Scalars("loss")}
    assert seen == {r["step"]: pytest.approx(r["loss"], rel=1e-5) for r in rows} and len(seen) == 3


def test_without_tensorboard_its_install_line_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(SfvError, match=r'pip install "sfv\[train\]"'):
        run(Toy(), Schedule(steps=2, tensorboard=True), tmp_path, {})


class Wandb(SimpleNamespace):
    """Stands in for Weights & Biases: keeps what it is given."""

    def __init__(self) -> None:
        super().__init__(runs=[])

    def init(self, **given: Any) -> "WandbRun":
        self.runs.append(WandbRun(given))
        return self.runs[-1]


class WandbRun:
    def __init__(self, given: dict[str, Any]) -> None:
        self.given, self.rows, self.finished = given, {}, False  # type: ignore[var-annotated]

    def log(self, row: dict[str, float], step: int) -> None:
        self.rows[step] = row

    def finish(self) -> None:
        self.finished = True


def test_wandb_has_every_report_and_a_resumed_run_is_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wandb = Wandb()
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    run(Toy(), Schedule(steps=4, log_every=2, wandb="stickers"), tmp_path, {"task": "toy"})
    run(Toy(), Schedule(steps=6, log_every=2, wandb="stickers"), tmp_path, {"task": "toy"})
    first, second = wandb.runs
    assert first.given["project"] == "stickers" and first.given["config"] == {"task": "toy"}
    assert list(first.rows) == [2, 4] and list(second.rows) == [6] and first.finished and second.finished
    assert first.given["id"] == second.given["id"]


def test_without_wandb_its_install_line_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(SfvError, match="pip install wandb"):
        run(Toy(), Schedule(steps=2, wandb="stickers"), tmp_path, {})


def test_what_wandb_refuses_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses(**_: object) -> None:
        raise RuntimeError("no API key")

    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(init=refuses))
    with pytest.raises(SfvError, match="wandb=stickers: no API key; .*WANDB_MODE=offline"):
        run(Toy(), Schedule(steps=2, wandb="stickers"), tmp_path, {})
