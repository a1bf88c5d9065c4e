"""What every command shares: flags as a pydantic model, one sentence for a bad one, reports as text or JSON."""

import json
import sys
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from tyro.conf import Positional, arg

from sfv.cli.help import explain
from sfv.errors import FlagError
from sfv.ray.settings import Spread

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


def say(report: dict[str, Any], as_json: bool, first: bool = True, clips: int = 1) -> None:
    """One clip's report: JSON on stdout, or a line for people; failures and warnings go to stderr in words.

    What holds for all of the `clips` is said with the `first` alone.
    """
    if as_json:
        print(json.dumps(report), flush=True)
    elif "error" in report:
        which = Path(report["image"]).name if clips > 1 and "image" in report else ""
        named = not which or which in report["error"]
        print(f"sfv: {report['error']}" if named else f"sfv: {which}: {report['error']}", file=sys.stderr, flush=True)
    else:
        stages = ", ".join(f"{k} {v:.3f} s" for k, v in report["seconds"].items())
        calls = f"{report['calls']} network call(s); " if report["calls"] else ""
        fits = f"{report['fits']}; " if "fits" in report else ""
        print(f"{report['out']}: {fits}{calls}{stages}", flush=True)
        for remark in (report[k] for k in REMARKS if k in report):
            print(f"  {remark}", flush=True)
        if first and report["speed"] and clips >= MANY:
            print(f"  {report['speed']['profile']}, {report['speed']['reason']}", flush=True)
        if first and "warning" in report:
            print(f"sfv: {report['warning']}", file=sys.stderr, flush=True)
