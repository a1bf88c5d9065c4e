"""Is the run healthy? Figures in, alarms out: each with its reason and an advice. Knows no network.

Thresholds: published logs of adversarial distillation stop trusting a discriminator whose accuracy stays above 95 %
on both classes, and published one-step students lose motion first (docs/health.md).
"""

import math
from collections import deque
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from sfv.training.lines import append_lines, read_lines

Row = dict[str, float]


@dataclass(frozen=True)
class Alarm:
    """What is wrong since when, how it shows, what to try."""

    step: int
    kind: str
    why: str
    advice: str


@dataclass(frozen=True)
class Rule:
    """An alarm rises when `figure` is outside [low, high] in every one of the last `patience` reports."""

    kind: str
    figure: str
    low: float
    high: float
    patience: int
    advice: str

    def broken(self, rows: deque[Row]) -> bool:
        """Whether the last reports all break the rule; a report without the figure counts as sound."""
        last = list(rows)[-self.patience :]
        outside = [not self.low <= r[self.figure] <= self.high for r in last if self.figure in r]
        return len(outside) == self.patience and all(outside)


TOO_STRONG = "its gradient no longer teaches: halve lr_heads, set head_updates=1, or raise gamma or smoothness"
STUDENT_RULES: tuple[Rule, ...] = (
    Rule("discriminator too strong", "d_accuracy", 0.0, 0.95, 3, TOO_STRONG),
    Rule("discriminator too strong", "d_ranked", 0.0, 0.97, 3, TOO_STRONG),
    Rule(
        "discriminator blind",
        "d_ranked",
        0.52,
        1.0,
        5,
        "it cannot distinguish real from fake: lower lr, raise lr_heads, head_updates or head_start",
    ),
    Rule(
        "generator still",
        "motion",
        0.15,
        math.inf,
        3,
        "clips stand still: lower reconstruction, check the temporal heads, start from an earlier checkpoint",
    ),
    Rule(
        "reconstruction too strong",
        "g_balance",
        0.0,
        1.5,
        10,
        "the generator learns the mean of what may happen, which is still: lower reconstruction, or raise huber_c",
    ),
    Rule(
        "generator wild",
        "motion",
        0.0,
        4.0,
        3,
        "clips flicker: lower lr, raise head_updates, or raise reconstruction",
    ),
    Rule(
        "saturation",
        "spread",
        0.5,
        1.5,
        3,
        "latents grow or shrink away from real ones: lower lr, raise reconstruction, train on real data, not guided",
    ),
    Rule("steps skipped", "skipped", 0.0, 0.5, 2, "gradients are not finite: lower lr, use precision=fp32"),
)


CONDITION_RULES: tuple[Rule, ...] = (
    Rule(
        "picture ignored",
        "picture_spread",
        0.02,
        math.inf,
        3,
        "the network gets the same for every picture and cannot use it: start again with a lower lr",
    ),
    Rule("steps skipped", "skipped", 0.0, 0.5, 2, "gradients are not finite: lower lr, use precision=fp32"),
)


class Health:
    """Watches reports after `quiet_until` and keeps alarms.jsonl; each kind is raised once until it is sound again."""

    def __init__(self, rules: tuple[Rule, ...], folder: Path | None = None, quiet_until: int = 0) -> None:
        self.rules, self.folder, self.quiet_until = rules, folder, quiet_until
        self.rows: deque[Row] = deque(maxlen=max([r.patience for r in rules], default=1))
        self.raised: dict[str, Alarm] = {}

    def look(self, row: Row) -> list[Alarm]:
        """New alarms of this report."""
        if row["step"] <= self.quiet_until:
            return []
        self.rows.append(row)
        broken = {r.kind: r for r in self.rules if r.broken(self.rows)}
        self.raised = {k: v for k, v in self.raised.items() if k in broken}
        new = [_alarm(r, list(self.rows)) for k, r in broken.items() if k not in self.raised]
        self.raised |= {a.kind: a for a in new}
        if new and self.folder:
            append_lines(self.folder / "alarms.jsonl", [asdict(a) for a in new])
        return new

    def state_dict(self) -> dict[str, Any]:
        """What stands and what was seen, so that a sick run is still sick when it resumes."""
        return {"raised": {k: asdict(a) for k, a in self.raised.items()}, "rows": list(self.rows)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Inverse of `state_dict`."""
        self.raised = {k: Alarm(**a) for k, a in state["raised"].items()}
        self.rows.clear()
        self.rows.extend(state["rows"])

    @property
    def healthy(self) -> bool:
        """No alarm stands."""
        return not self.raised


def _alarm(rule: Rule, rows: list[Row]) -> Alarm:
    values = ", ".join(f"{r[rule.figure]:.3g}" for r in rows[-rule.patience :])
    bound = f"{rule.low:g} to {rule.high:g}" if math.isfinite(rule.high) else f"at least {rule.low:g}"
    why = f"{rule.figure} was {values} in the last {rule.patience} reports; healthy is {bound}"
    return Alarm(int(rows[-1]["step"]), rule.kind, why, rule.advice)


def read_alarms(folder: Path) -> list[dict[str, Any]]:
    """The alarms of a run folder, oldest first; SfvError if the file is damaged."""
    return [asdict(alarm) for alarm in read_lines(folder / "alarms.jsonl", TypeAdapter(Alarm).validate_python)]
