"""Sick runs, each provoked: the right alarm, in time; and the way back."""

import json
import math
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import wiggle
from ranks import Flat, Noise
from toys import Toy

from sfv.edm.noise import NoiseRange
from sfv.errors import SfvError
from sfv.families.svd.sizes import TINY, new_model
from sfv.training.batches import Picked
from sfv.training.config import Schedule, StudentTraining
from sfv.training.health import Health, Rule, read_alarms
from sfv.training.loop import run, summary
from sfv.training.objectives.adversarial import train_student
from sfv.training.report import write_report
from sfv.training.seeds import Rngs, Seeds

SIGMAS = NoiseRange(0.002, 200.0)
QUICK = {"clips": 1, "warmup": 0, "log_every": 3, "head_width": 32, "precision": "fp32", "gamma": 0}
QUICK |= {"head_start": 5, "head_updates": 1, "decay_from": 1.0}


def go(folder: Path, batches: type[Noise] = Noise, **changes: object) -> list[dict[str, object]]:
    model = wiggle(new_model(TINY, 0))
    how = StudentTraining(**(QUICK | changes))  # type: ignore[arg-type]
    train_student(model.denoiser, batches(model), how, SIGMAS, folder)
    return read_alarms(folder)


class Poisoned(Noise):
    """Seven of ten clips are not numbers."""

    def pick(self, rngs: Rngs) -> Picked:
        got = super().pick(rngs)
        bad = rngs.shared.initial_seed() % 10 < 7
        return replace(got, x0=got.x0 * math.nan) if bad else got


class Bright(Flat):
    """Far from all that an untrained network makes: a few steps tell them apart."""

    def pick(self, rngs: Rngs) -> Picked:
        got = super().pick(rngs)
        return replace(got, x0=got.x0 + 5)


def test_a_discriminator_made_too_strong_is_called_so(tmp_path: Path) -> None:
    changes = {"lr": 0.0, "lr_heads": 1e-2, "head_optimizer": "adam", "p_mean": -5.0, "head_start": 16}
    alarms = go(tmp_path, Bright, steps=42, **changes)
    strong = [a for a in alarms if a["kind"] == "discriminator too strong"]
    assert strong and "lr_heads" in strong[0]["advice"]  # type: ignore[operator]
    assert re.search(r" was (0\.9\d*|1),", strong[0]["why"])  # type: ignore[call-overload]


class Same(Noise):
    """One picture in every clip, and noise over it that differs from frame to frame: its median is a still."""

    def pick(self, rngs: Rngs) -> Picked:
        got = super().pick(rngs)
        picture = torch.randn(4, 1, 1, generator=torch.Generator().manual_seed(9))
        return replace(got, x0=picture + 0.5 * got.x0)


def test_a_generator_collapsed_to_a_still_is_called_so(tmp_path: Path) -> None:
    """Other alarms may come first: what a discriminator makes of such clips is a matter of rounding."""
    alarms = go(tmp_path, Same, steps=40, lr=1e-2, lr_heads=1e-3, reconstruction=1000.0, log_every=2)
    assert "generator still" in [a["kind"] for a in alarms]


@pytest.mark.parametrize(("c", "still"), [(1e-3, True), (1e6, False)])
def test_a_reconstruction_that_outweighs_the_judge_is_called_so(tmp_path: Path, c: float, still: bool) -> None:
    """By the whole clip's norm: with c near 0 its pull is lambda whatever the distance."""
    alarms = go(tmp_path, steps=70, huber="clip", huber_c=c, reconstruction=10.0, log_every=2)
    called = [a for a in alarms if a["kind"] == "reconstruction too strong"]
    assert bool(called) == still and all("huber_c" in str(a["advice"]) for a in called)


def test_without_a_judge_no_reconstruction_is_too_strong(tmp_path: Path) -> None:
    assert not [a for a in go(tmp_path, steps=60, adversarial=0.0, log_every=2) if "reconstruction" in str(a["kind"])]


def test_a_run_stops_at_an_alarm_if_asked(tmp_path: Path) -> None:
    class Sick(Toy):
        rules, quiet_until = (Rule("sick", "figure", 0.0, 1.0, 1, "rest"),), 0

        def step(self, step: int, seeds: Seeds) -> dict[str, float]:
            return super().step(step, seeds) | {"figure": 2.0 if step >= 6 else 0.5}

    with pytest.raises(SfvError, match=r"stopped at step \d+ of 40 \(sick\)"):
        run(Sick(), Schedule(steps=40, warmup=0, log_every=4, on_alarm="stop"), tmp_path, {})
    assert read_alarms(tmp_path)[-1]["step"] == 8


def test_steps_that_are_not_finite_are_skipped_and_called_so(tmp_path: Path) -> None:
    alarms = go(tmp_path, Poisoned, steps=42, lr=1e-4, log_every=6)
    assert "steps skipped" in [a["kind"] for a in alarms]
    rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert all(math.isfinite(v) for row in rows for v in row.values())
    assert 0.5 < sum(r["skipped"] for r in rows) / len(rows) < 0.9


def test_a_sick_run_goes_back_and_calms_down(tmp_path: Path) -> None:
    """Sound for 20 steps, then sick whenever the rate is above a quarter: two returns, each to a sound step."""

    class Sick(Toy):
        rules, quiet_until = (Rule("sick", "figure", 0.0, 1.0, 1, "rest"),), 0

        def step(self, step: int, seeds: Seeds) -> dict[str, float]:
            wild = step >= 20 and self.optimizers["adam"].param_groups[0]["lr"] > 0.26e-3
            self.seen = [*getattr(self, "seen", []), step]
            return super().step(step, seeds) | {"figure": 2.0 if wild else 0.5}

    task = Sick()
    plan = Schedule(steps=40, warmup=0, decay_from=1.0, log_every=4, save_minutes=0.0, on_alarm="return")
    run(task, plan, tmp_path, {})
    alarms = read_alarms(tmp_path)
    assert [a["kind"] for a in alarms] == ["sick", "sick"]
    assert task.seen.count(23) == 2 and len(task.seen) == 42 and task.seen[-1] == 39
    assert (tmp_path / "healthy.safetensors").exists()


def test_a_run_that_stays_sick_ends_with_a_reason(tmp_path: Path) -> None:
    class Lost(Toy):
        rules, quiet_until = (Rule("lost", "loss", -2.0, -1.0, 1, "give up"),), 0

    with pytest.raises(SfvError, match="fell ill 6 times"):
        run(Lost(), Schedule(steps=50, log_every=2, on_alarm="return"), tmp_path, {})


def test_rules_need_patience_and_forgive() -> None:
    health = Health((Rule("low", "x", 1.0, math.inf, 3, "do something"),), quiet_until=2)
    values = [0.0, 0.0, 0.5, 0.5, 2.0, 0.5, 0.5, 0.5, 0.5, 2.0, 0.1, 0.1, 0.1]
    raised = [bool(health.look({"step": i + 1, "x": v})) for i, v in enumerate(values)]
    assert [i for i, r in enumerate(raised) if r] == [7, 12]
    assert not health.healthy


def test_summary_by_hand() -> None:
    rows = [
        {"a": 1.0, "right_x": 0.5, "seen_x": 1.0},
        {"a": math.nan, "right_x": 0.0, "seen_x": 0.0},
        {"a": 3.0, "right_x": 1.5, "seen_x": 2.0},
    ]
    got = summary(rows)
    assert got["a"] == 2 and got["skipped"] == pytest.approx(1 / 3)
    assert got["accuracy_x"] == pytest.approx(2 / 3)


def test_the_report_is_one_page_that_needs_nothing_else(tmp_path: Path) -> None:
    go(tmp_path, steps=9, lr=1e-4)
    (tmp_path / "samples").mkdir(exist_ok=True)
    torch.manual_seed(0)
    from sfv.media import write_picture

    write_picture(torch.zeros(8, 8, 3, dtype=torch.uint8), tmp_path / "samples" / "step-00020.png")
    page = write_report(tmp_path).read_text()
    assert page.startswith("<!doctype html>") and "<svg" in page and "d_accuracy" in page
    assert "data:image/png;base64," in page and "http" not in page.replace("http://www.w3.org/2000/svg", "")
    with pytest.raises(SfvError, match="nowhere holds no readable config.json .*; name a run folder"):
        write_report(tmp_path / "nowhere")
