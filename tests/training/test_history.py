"""A run may be changed and lengthened while it goes on; what it is made of may not."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from students import PLAIN
from toys import Toy

from sfv.errors import SfvError
from sfv.training import loop
from sfv.training.checkpoint import Writer
from sfv.training.config import DecoderTraining, Schedule, StudentTraining, TeacherTraining
from sfv.training.health import Health, Rule
from sfv.training.history import changes, read_history, remember
from sfv.training.loop import rate, run
from sfv.training.parallel import World
from sfv.training.report import write_report
from sfv.training.seeds import Seeds

SHORT = Schedule(steps=4, warmup=0, log_every=2)


def settings(schedule: Schedule) -> dict[str, object]:
    return {"task": "toy", **schedule.model_dump()}


def go(folder: Path, **different: object) -> Toy:
    task, schedule = Toy(), Schedule(**(SHORT.model_dump() | different))  # type: ignore[arg-type]
    run(task, schedule, folder, settings(schedule))
    return task


def test_a_finished_run_is_lengthened(tmp_path: Path) -> None:
    first, more = go(tmp_path / "a", decay_from=1.0), go(tmp_path / "a", steps=9, decay_from=1.0)
    whole = go(tmp_path / "b", steps=9, decay_from=1.0)
    assert len(first.losses) == 4 and first.losses + more.losses == whole.losses
    assert read_history(tmp_path / "a") == [{"step": 4, "changed": {"steps": [4, 9]}}]
    assert json.loads((tmp_path / "a" / "config.json").read_text())["steps"] == 9
    assert read_history(tmp_path / "b") == []


def test_alarms_rates_and_saving_may_change_and_the_report_says_so(tmp_path: Path) -> None:
    go(tmp_path)
    go(tmp_path, steps=6, on_alarm="return", save_minutes=1.0, clip=0.5)
    go(tmp_path, steps=6, on_alarm="return", save_minutes=1.0, clip=0.5)
    assert len(read_history(tmp_path)) == 1, "the same again changes nothing"
    page = write_report(tmp_path).read_text()
    assert "Step 4: " in page and "on_alarm from warn to return" in page and "clip from 1.0 to 0.5" in page


@pytest.mark.parametrize(
    ("schedule", "name", "value"),
    [
        (SHORT, "seed", 5),
        (StudentTraining(steps=4, clips=2), "lora", 8),
        (StudentTraining(steps=4, clips=2), "head_width", 32),
        (StudentTraining(steps=4, clips=2), "optimizer", "muon"),
        (StudentTraining(steps=4, clips=2), "motion_most", 100.0),
        (TeacherTraining(steps=4, clips=2), "frames", 3),
        (DecoderTraining(steps=4, clips=2, frames=3), "depth", (2, 2, 2)),
    ],
)
def test_what_a_run_is_made_of_stays(schedule: Schedule, name: str, value: object, tmp_path: Path) -> None:
    remember(tmp_path, settings(schedule), {}, 0)
    other = schedule.model_copy(update={name: value})
    with pytest.raises(SfvError, match=f"{name} was .* which cannot change within a run; use another run folder"):
        changes(tmp_path, settings(other), other)


def test_another_task_or_noise_stays_refused(tmp_path: Path) -> None:
    remember(tmp_path, settings(SHORT) | {"sigmas": (0.002, 700.0)}, {}, 0)
    assert changes(tmp_path, settings(SHORT) | {"sigmas": (0.002, 700.0)}, SHORT) == {}
    for changed in ({"sigmas": (0.002, 200.0)}, {"sigmas": (0.002, 700.0), "task": "another"}):
        with pytest.raises(SfvError, match="cannot change within a run"):
            changes(tmp_path, settings(SHORT) | changed, SHORT)


def test_fewer_steps_than_were_made_and_a_damaged_config_are_one_sentence(tmp_path: Path) -> None:
    go(tmp_path)
    with pytest.raises(SfvError, match="has made 4 steps already, more than steps=3"):
        go(tmp_path, steps=3)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(SfvError, match="config.json is damaged"):
        go(tmp_path)


def test_rates_of_a_student_may_change_while_its_heads_may_not(tmp_path: Path) -> None:
    how = StudentTraining(**PLAIN)  # type: ignore[arg-type]
    remember(tmp_path, settings(how), {}, 0)
    other = how.model_copy(update={"lr": 1e-3, "lr_heads": 1e-4, "head_updates": 3, "reconstruction": 0.5, "steps": 9})
    assert set(changes(tmp_path, settings(other), other)) == {
        "lr",
        "lr_heads",
        "head_updates",
        "reconstruction",
        "steps",
    }


def test_saves_keep_apart_by_what_one_takes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that took a quarter of an hour is not written again at once, whatever `save_minutes` says."""
    written = list[int]()

    def slow(self: Writer, began: float, step: int, *rest: Any) -> None:
        written.append(step)
        self.seconds = 900.0

    monkeypatch.setattr(Writer, "_run", slow)
    go(tmp_path, steps=40, save_minutes=1e-9)
    assert written[-1] == 40 and len(written) <= 4


def test_every_run_asks_whether_its_folder_is_shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def apart(folder: Path, world: World) -> None:
        raise SfvError(f"{folder} is not shared")

    monkeypatch.setattr(loop, "same_folder", apart)
    with pytest.raises(SfvError, match="is not shared"):
        go(tmp_path / "run")
    assert not (tmp_path / "run" / "log.jsonl").exists()


class Sick(Toy):
    """Ill from step 6 on."""

    rules, quiet_until = (Rule("sick", "figure", 0.0, 1.0, 1, "rest"),), 0

    def step(self, step: int, seeds: Seeds) -> dict[str, float]:
        return super().step(step, seeds) | {"figure": 2.0 if step >= 6 else 0.5}


def test_a_sick_run_is_still_sick_when_it_resumes(tmp_path: Path) -> None:
    """Its checkpoint does not take the healthy one's place."""
    plan = Schedule(steps=40, warmup=0, log_every=2, save_minutes=0.0, on_alarm="stop")
    with pytest.raises(SfvError, match="stopped at step 8"):
        run(Sick(), plan, tmp_path, settings(plan))
    healthy = (tmp_path / "healthy.safetensors").read_bytes()
    again = plan.model_copy(update={"on_alarm": "warn", "steps": 9})
    run(Sick(), again, tmp_path, settings(again))
    assert (tmp_path / "healthy.safetensors").read_bytes() == healthy


def test_a_run_of_an_earlier_version_goes_on(tmp_path: Path) -> None:
    """It kept no health, and its configuration knows fewer fields."""
    go(tmp_path)
    with safe_open(tmp_path / "state.safetensors", "pt") as file:
        tensors, meta = {k: file.get_tensor(k) for k in file.keys()}, file.metadata()
    plain = {k: v for k, v in json.loads(meta["plain"]).items() if not k.startswith("health")}
    assert len(plain) < len(json.loads(meta["plain"]))
    save_file(tensors, tmp_path / "state.safetensors", meta | {"plain": json.dumps(plain)})
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({k: v for k, v in config.items() if k != "clip"}))
    assert len(go(tmp_path, steps=6).losses) == 2


def test_health_comes_back_as_it_was() -> None:
    rules = (Rule("sick", "x", 0.0, 1.0, 2, "rest"),)
    first, second = Health(rules), Health(rules)
    for step, x in enumerate([0.5, 2.0, 2.0], 1):
        first.look({"step": step, "x": x})
    second.load_state_dict(first.state_dict())
    assert not second.healthy and second.raised == first.raised and list(second.rows) == list(first.rows)
    assert second.look({"step": 4, "x": 3.0}) == [], "raised once, not again after a resume"


def test_warm_up_is_counted_from_an_optimisers_first_update(tmp_path: Path) -> None:
    s = Schedule(steps=100, warmup=10, decay_from=1.0)
    assert [rate(step, s, begin=50) for step in (50, 54, 59, 60)] == pytest.approx([0.1, 0.5, 1.0, 1.0])
    assert rate(49, s, begin=50) == 0

    class Late(Toy):
        begins = {"adam": 3}

        def step(self, step: int, seeds: Seeds) -> dict[str, float]:
            self.rates = [*getattr(self, "rates", []), {k: o.param_groups[0]["lr"] for k, o in self.optimizers.items()}]
            return super().step(step, seeds)

    task, plan = Late(), Schedule(steps=6, warmup=2, decay_from=1.0, log_every=1)
    run(task, plan, tmp_path, settings(plan))
    seen = {k: torch.tensor([r[k] for r in task.rates]) / {"muon": 1e-2, "adam": 1e-3}[k] for k in task.optimizers}
    torch.testing.assert_close(seen["muon"], torch.tensor([0.5, 1, 1, 1, 1, 1]))
    torch.testing.assert_close(seen["adam"], torch.tensor([0, 0, 0, 0.5, 1, 1]))


def test_a_run_of_an_older_version_goes_on(tmp_path: Path) -> None:
    """Its config lacks fields that came since: they had their defaults, and other values are changes."""
    student = StudentTraining(steps=4, clips=2)
    now = {"task": "student", **student.model_dump(mode="json")}
    remember(tmp_path, {k: v for k, v in now.items() if k not in ("held_out", "no_sync")}, {}, 0)
    assert changes(tmp_path, now, student) == {}
    assert changes(tmp_path, now | {"no_sync": True}, student) == {"no_sync": [False, True]}
    with pytest.raises(SfvError, match="held_out was 0.0 and is now 0.5, which cannot change within a run"):
        changes(tmp_path, now | {"held_out": 0.5}, student)
