"""The one training loop: titled paragraphs, one clock, exact resume, alarms."""

import math
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from torch import nn
from torch.optim import Optimizer
from tqdm import tqdm

from sfv.errors import SfvError
from sfv.training import checkpoint, history
from sfv.training.boards import boards
from sfv.training.checkpoint import Stateful
from sfv.training.config import Schedule
from sfv.training.ema import EMA
from sfv.training.health import Health, Rule
from sfv.training.lines import append_lines
from sfv.training.logs import Logs
from sfv.training.parallel import ALONE, World, any_rank, mean_over_ranks, same_folder
from sfv.training.seeds import Seeds

MOST_RETURNS = 5
APART = 20
"""Checkpoints are at least so many times as far apart as one takes to be written."""


@runtime_checkable
class Task(Protocol):
    """What the loop drives: parts to save, optimisers to schedule, one step of the algorithm."""

    modules: dict[str, nn.Module]
    optimizers: dict[str, Optimizer]
    averages: dict[str, EMA]
    rules: tuple[Rule, ...]
    """What is called unhealthy."""
    quiet_until: int
    """Steps before anything is."""

    def step(self, step: int, seeds: Seeds) -> Logs: ...


@runtime_checkable
class Looking(Protocol):
    """A task that now and then looks at what its network makes; every rank is asked after every step."""

    def look(self, step: int, run_dir: Path) -> Logs: ...


@runtime_checkable
class Staggered(Protocol):
    """A task whose optimisers do not all begin at once."""

    begins: dict[str, int]
    """Optimiser -> the step of its first update: its warm-up is counted from there. 0 if not named."""


def saved(task: Task) -> dict[str, Stateful]:
    """What of a task a checkpoint holds: what learns, its optimisers' states and its averages."""
    return {
        **{k: checkpoint.Learned(m) for k, m in task.modules.items()},
        **_named("opt", {k: checkpoint.OptimizerState(o, task.modules) for k, o in task.optimizers.items()}),
        **_named("ema", task.averages),
    }


def rate(step: int, s: Schedule, begin: int = 0) -> float:
    """Learning-rate factor: linear warm-up of an optimiser that begins at step `begin`, flat, then cosine to 2 %."""
    warm = min(1.0, max(0, step - begin + 1) / max(1, s.warmup))
    late = max(0.0, step / s.steps - s.decay_from) / max(1e-9, 1 - s.decay_from)
    return warm * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * late)))


def run(task: Task, s: Schedule, run_dir: Path, config: dict[str, Any], world: World = ALONE) -> None:
    """Train `task` for `s.steps`; the same call resumes from `run_dir`.

    Writes config.json, history.jsonl, log.jsonl, alarms.jsonl and state.safetensors. SIGTERM and Ctrl-C save, then
    stop. A resumed run may be longer, or have other rates: what changed, and when, is kept (history.py).
    """
    # Initialise
    run_dir.mkdir(parents=True, exist_ok=True)
    same_folder(run_dir, world)
    changed = history.changes(run_dir, config, s)
    backoff = LearningRateBackoff()
    parts = saved(task) | {"calm": backoff}  # its name in checkpoints
    health = Health(task.rules, run_dir if world.main else None, task.quiet_until)
    parts["health"] = health
    base = {id(o): [g["lr"] for g in o.param_groups] for o in task.optimizers.values()}
    begins = task.begins if isinstance(task, Staggered) else {}

    # Load latest
    step = checkpoint.load_latest(run_dir, parts)
    if step > s.steps:
        raise SfvError(f"{run_dir} has made {step} steps already, more than steps={s.steps}; give more")
    world.wait()
    if world.main:
        history.remember(run_dir, config, changed, step)
    seen: Logs = {}
    saved_at, logs, since = time.monotonic(), [], time.monotonic()
    bar = tqdm(total=s.steps, initial=step, desc=run_dir.name, unit="step", mininterval=5, disable=not world.main)

    to_show = boards(run_dir, s, config, step, world.main)
    with asked_to_stop() as asked, bar, to_show as shown, checkpoint.Writer(run_dir, world.main) as writer:
        while True:
            # Done? Save?
            apart = s.save_minutes and max(60 * s.save_minutes, APART * writer.seconds)
            due = [bool(asked), time.monotonic() - saved_at > apart]
            stop, save = any_rank(due, world)
            done = step >= s.steps or stop
            if done or save:
                writer.save(step, parts, healthy=health.healthy)
                saved_at = time.monotonic()
            if done:
                break

            # Draw, update
            for name, optimizer in task.optimizers.items():
                for group, lr in zip(optimizer.param_groups, base[id(optimizer)], strict=True):
                    group["lr"] = lr * rate(step, s, begins.get(name, 0)) * backoff.factor
            logs.append(task.step(step, Seeds(s.seed, step, world.rank)))
            for average in task.averages.values():
                average.update()
            step += 1
            bar.update()

            # Look at samples
            if isinstance(task, Looking):
                seen |= task.look(step, run_dir)

            # Report
            if len(logs) == s.log_every:
                row = {"step": step, **mean_over_ranks(summary(logs), world)}
                row["seconds_per_step"] = (time.monotonic() - since) / len(logs)
                row, seen = row | seen, {}
                _check(row)
                if world.main:
                    _report(run_dir, row)
                    for board in shown:
                        board(row)
                bar.set_postfix({k: f"{v:.3g}" for k, v in list(row.items())[1:5]})

                # Heal
                for alarm in health.look(row):
                    bar.write(f"ALARM at step {alarm.step}: {alarm.kind}. {alarm.why}. Advice: {alarm.advice}.")
                if not health.healthy and s.on_alarm == "stop":
                    asked.append(0)
                if not health.healthy and s.on_alarm == "return":
                    writer.wait()
                    step = _return(run_dir, parts, backoff, step)
                    health.raised.clear()
                    health.rows.clear()
                    bar.reset()
                    bar.update(step)
                logs, since = [], time.monotonic()

    # Stop
    if step < s.steps:
        reason = "; ".join(a.kind for a in health.raised.values())
        raise SfvError(
            f"stopped at step {step} of {s.steps}{f' ({reason})' if reason else ''} and saved; "
            f"the same command resumes {run_dir}"
        )


class LearningRateBackoff:
    """How often the run has gone back to a healthy checkpoint; every return halves the learning rates."""

    def __init__(self) -> None:
        self.returns = 0

    @property
    def factor(self) -> float:
        """What the learning rates are multiplied with."""
        return 0.5**self.returns

    def state_dict(self) -> dict[str, Any]:
        """The count."""
        return {"returns": self.returns}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Inverse of `state_dict`."""
        self.returns = int(state["returns"])


def _return(run_dir: Path, parts: dict[str, Stateful], backoff: LearningRateBackoff, step: int) -> int:
    """Go back to the last healthy checkpoint with calmer rates; where there is none, go on with calmer rates."""
    returns = backoff.returns + 1
    if returns > MOST_RETURNS:
        raise SfvError(f"{run_dir} fell ill {returns} times; change its configuration (see alarms.jsonl)")
    before = checkpoint.load_latest(run_dir, parts, checkpoint.HEALTHY)
    backoff.returns = returns
    return before or step


@contextmanager
def asked_to_stop() -> Iterator[list[int]]:
    """A list that is no longer empty once SIGTERM or Ctrl-C came."""
    asked: list[int] = []
    old = {sig: signal.signal(sig, lambda n, _: asked.append(n)) for sig in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield asked
    finally:
        for sig, handler in old.items():
            signal.signal(sig, handler)


def summary(logs: list[Logs]) -> Logs:
    """Mean of each figure over the steps where it is finite, and the share of steps with one that is not.

    Figures that not every step has come in pairs: right_x over seen_x becomes accuracy_x.
    """
    mean: Logs = {}
    for key in logs[0]:
        values = [row[key] for row in logs if math.isfinite(row[key])]
        mean[key] = sum(values) / len(values) if values else math.nan
    mean["skipped"] = sum(not all(map(math.isfinite, row.values())) for row in logs) / len(logs)
    for key in [k for k in mean if k.startswith("right_")]:
        right, seen = mean.pop(key), mean.pop(key.replace("right_", "seen_", 1))
        mean[key.replace("right_", "accuracy_", 1)] = right / seen if seen else 0.5
    return mean


def _named(prefix: str, parts: Any) -> dict[str, Stateful]:
    return {f"{prefix}.{k}": v for k, v in parts.items()}


def _check(row: Logs) -> None:
    bad = [k for k, v in row.items() if not math.isfinite(v)]
    if bad:
        raise SfvError(f"{', '.join(bad)} is not finite at step {row['step']:g}; lower the learning rate")


def _report(run_dir: Path, row: dict[str, Any]) -> None:
    append_lines(run_dir / "log.jsonl", [{k: float(f"{v:.6g}") for k, v in row.items()}])
