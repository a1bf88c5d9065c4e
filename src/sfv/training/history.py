"""What a run was asked for, and what was changed since it began: config.json and history.jsonl of a run folder."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, TypeAdapter

from sfv.errors import SfvError
from sfv.media import replacing
from sfv.training.config import Schedule
from sfv.training.lines import append_lines, read_lines

CONFIG, HISTORY = "config.json", "history.jsonl"
Changes = dict[str, list[Any]]
"""Field -> what it was and what it is."""


def changes(run_dir: Path, config: dict[str, Any], schedule: Schedule) -> Changes:
    """What differs from the run as it was last asked for; empty for a new one.

    SfvError names a field that cannot change within a run: all that is none of the schedule's, and `schedule.kept`
    (data, networks, optimisers, seeds). Fields that a run of an older version does not know had their defaults.
    """
    path = run_dir / CONFIG
    if not path.exists():
        return {}
    try:
        before = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise SfvError(f"{path} is damaged ({error}); delete it to go on with the settings given now") from error
    fields = type(schedule).model_fields
    usual = {k: f.get_default(call_default_factory=True) for k, f in fields.items() if not f.is_required()}
    known = _plain(usual) | before
    found = {k: [known.get(k), v] for k, v in _plain(config).items() if known.get(k) != v}
    free = set(fields) - schedule.kept
    for name, (old, new) in found.items():
        if name not in free:
            raise SfvError(
                f"{path}: {name} was {json.dumps(old)} and is now {json.dumps(new)}, which cannot change within a run; "
                "use another run folder or delete this one"
            )
    return found


def remember(run_dir: Path, config: dict[str, Any], changed: Changes, step: int) -> None:
    """Keep the settings, and, if any were changed, with which step."""
    if changed:
        append_lines(run_dir / HISTORY, [{"step": step, "changed": changed}])
    with replacing(run_dir / CONFIG) as beside:
        beside.write_text(json.dumps(_plain(config), indent=1, sort_keys=True))


@dataclass(frozen=True)
class Changed:
    """A line of history.jsonl."""

    step: int
    changed: dict[str, Annotated[list[Any], Field(min_length=2, max_length=2)]]


def read_history(run_dir: Path) -> list[dict[str, Any]]:
    """The changes of a run, oldest first; SfvError if the file is damaged."""
    return [asdict(line) for line in read_lines(run_dir / HISTORY, TypeAdapter(Changed).validate_python)]


def _plain(config: dict[str, Any]) -> dict[str, Any]:
    """As JSON gives it back."""
    plain: dict[str, Any] = json.loads(json.dumps(config, default=str))
    return plain
