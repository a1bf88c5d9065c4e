"""The one training loop: titled paragraphs, one clock, exact resume."""

import json
import math
import signal
import time
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from torch import nn
from torch.optim import Optimizer
from tqdm import tqdm

from sfv.errors import SfvError
from sfv.training import checkpoint
from sfv.training.checkpoint import Stateful, cpu_generator
from sfv.training.config import Schedule
from sfv.training.ema import EMA

Logs = dict[str, float]


@runtime_checkable
class Task(Protocol):
    """What the loop drives: parts to save, optimisers to schedule, one step of the algorithm."""

    modules: dict[str, nn.Module]
    optimizers: dict[str, Optimizer]
    averages: dict[str, EMA]

    def step(self, step: int, rng: torch.Generator) -> Logs: ...


def rate(step: int, s: Schedule) -> float:
    """Learning-rate factor: linear warm-up, flat, then cosine to 2 %."""
    warm = min(1.0, (step + 1) / max(1, s.warmup))
    late = max(0.0, step / s.steps - s.decay_from) / max(1e-9, 1 - s.decay_from)
    return warm * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * late)))


def run(task: Task, s: Schedule, run_dir: Path, config: dict[str, Any]) -> None:
    """Train `task` for `s.steps`; the same call resumes from `run_dir`.

    Writes config.json, log.jsonl and state.safetensors. SIGTERM and Ctrl-C save, then stop.
    """
    # Initialise
    run_dir.mkdir(parents=True, exist_ok=True)
    _remember(run_dir / "config.json", config)
    parts: dict[str, Stateful] = {
        **task.modules,
        **_named("opt", task.optimizers),
        **_named("ema", task.averages),
    }
    base = {id(o): [g["lr"] for g in o.param_groups] for o in task.optimizers.values()}
    asked: list[int] = []
    old = {sig: signal.signal(sig, lambda n, _: asked.append(n)) for sig in (signal.SIGTERM, signal.SIGINT)}

    # Load latest
    step = checkpoint.load_latest(run_dir, parts)
    saved, logs, since = time.monotonic(), [], time.monotonic()
    bar = tqdm(total=s.steps, initial=step, desc=run_dir.name, unit="step", mininterval=5, smoothing=0.02)

    while True:
        # Done? Save?
        done = step >= s.steps or bool(asked)
        if done or time.monotonic() - saved > 60 * s.save_minutes:
            checkpoint.save(run_dir, step, parts)
            saved = time.monotonic()
        if done:
            break

        # Draw, update
        for optimizer in task.optimizers.values():
            for group, lr in zip(optimizer.param_groups, base[id(optimizer)], strict=True):
                group["lr"] = lr * rate(step, s)
        logs.append(task.step(step, cpu_generator(s.seed, 0, step)))
        for average in task.averages.values():
            average.update()
        step += 1
        bar.update()

        # Report
        if len(logs) == s.log_every:
            mean = {k: sum(x[k] for x in logs) / len(logs) for k in logs[0]}
            seconds = (time.monotonic() - since) / len(logs)
            _report(run_dir, {"step": step, **mean, "seconds_per_step": seconds})
            bar.set_postfix({k: f"{v:.3g}" for k, v in list(mean.items())[:4]})
            logs, since = [], time.monotonic()

    # Stop
    bar.close()
    for sig, handler in old.items():
        signal.signal(sig, handler)
    if asked:
        raise SfvError(f"stopped at step {step} of {s.steps} and saved; the same command resumes {run_dir}")


def _named(prefix: str, parts: Any) -> dict[str, Stateful]:
    return {f"{prefix}.{k}": v for k, v in parts.items()}


def _remember(path: Path, config: dict[str, Any]) -> None:
    """Store the resolved config; refuse to resume a run under another one."""
    text = json.dumps(config, indent=1, sort_keys=True, default=str)
    if path.exists() and path.read_text() != text:
        raise SfvError(f"{path} differs from this run's configuration; use another run folder or delete it")
    path.write_text(text)


def _report(run_dir: Path, row: dict[str, Any]) -> None:
    bad = [k for k, v in row.items() if not math.isfinite(v)]
    if bad:
        raise SfvError(f"{', '.join(bad)} is not finite at step {row['step']}; lower the learning rate")
    with open(run_dir / "log.jsonl", "a") as file:
        file.write(json.dumps({k: float(f"{v:.6g}") for k, v in row.items()}) + "\n")
