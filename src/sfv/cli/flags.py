"""What every command shares: flags as a pydantic model, one sentence for a bad one, reports as text or JSON."""

import json
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from tyro.conf import Positional, arg

from sfv.cli.help import explain
from sfv.errors import FlagError
from sfv.ray.settings import Spread
from sfv.system.progress import say as line

Pictures = Annotated[Positional[tuple[Path, ...]], arg(metavar="IMAGE...")]
Out = Annotated[Path | None, arg(aliases=["-o"], metavar="PATH")]
S = TypeVar("S", bound=BaseModel)


class Flags(BaseModel):
    """A command: its fields are its flags; a value out of range becomes one sentence."""

    model_config = ConfigDict(extra="forbid")

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        explain(cls)

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            first = error.errors()[0]
            message = first["msg"].removeprefix("Value error, ")
            flag = "".join(f"--{str(name).rstrip('_').replace('_', '-')}" for name in first["loc"][:1])
            if first["type"] == "too_short":
                raise FlagError(f"{flag} names nothing; give at least one") from error
            where = f"{flag} {first['input']}: " if flag else ""
            raise FlagError(where + message[0].lower() + message[1:]) from error

    def fill(self, schema: type[S]) -> S:
        """The flags that belong to a request schema, as that schema."""
        return schema(**self.model_dump(include=set(schema.model_fields)))


def ray_spread(command: Flags, ray: bool) -> Spread:
    """A command's flags of Ray; FlagError if they are given without it."""
    spread = command.fill(Spread)
    if not ray and spread != Spread():
        raise FlagError("--ray-address, --ray-workers and --ray-threads need --ray")
    return spread


MANY = 20
"""Clips from which it is said how the model is run, and how that might be quicker."""
REMARKS = ("kept", "replaced", "fewer")
"""What a report may say of its file beside the times."""


def _made(report: dict[str, Any]) -> str:
    """How a clip was made, where a model made it: its calls, and what was decided by the picture."""
    if not report["calls"]:
        return ""
    settings, calls = report.get("settings", {}), report["calls"]
    move = settings.get("move", "free")
    said = [f"{calls} network call" + "s" * (calls > 1)]
    said += [f"move {move}"] if move not in ("auto", "free") else []
    said += ["as one body"] if settings.get("stiff") == "on" else []
    return ", ".join(said) + "; "


def say(report: dict[str, Any], as_json: bool, first: bool = True, clips: int = 1) -> None:
    """One clip's report: JSON on stdout, or a line for people; failures and warnings go to stderr in words.

    What holds for all of the `clips` is said with the `first` alone.
    """
    if as_json:
        print(json.dumps(report), flush=True)
    elif "error" in report:
        which = Path(report["image"]).name if clips > 1 and "image" in report else ""
        named = not which or which in report["error"]
        line(f"sfv: {report['error']}" if named else f"sfv: {which}: {report['error']}", wrong=True)
    else:
        stages = ", ".join(f"{k} {v:.3f} s" for k, v in report["seconds"].items())
        fits = f"{report['fits']}; " if "fits" in report else ""
        line(f"{report['out']}: {fits}{_made(report)}{stages}")
        for remark in (report[k] for k in REMARKS if k in report):
            line(f"  {remark}")
        if first and report["speed"] and clips >= MANY:
            line(f"  {report['speed']['profile']}, {report['speed']['reason']}")
        if first and "warning" in report:
            line(f"sfv: {report['warning']}", wrong=True)
