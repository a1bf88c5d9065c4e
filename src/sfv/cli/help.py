"""What `--help` says of a flag's values and of its default, in plain words. Knows pydantic's fields and tyro's hints.

tyro alone writes `{None}|INT` and `(default: None)`.
"""

import json
import types
from collections.abc import Iterator
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from tyro.conf import Positional, arg

from sfv.settings import Defaults

KINDS = {str: "TEXT", int: "N", float: "NUMBER", Path: "PATH"}
"""What stands for a value of each type."""
LOWEST, HIGHEST = ("ge", "gt"), ("le", "lt")


def explain(command: type[BaseModel]) -> None:
    """Put plain words in place of tyro's for every field of a command: `N` for `{None}|INT`, the model's own default
    for None, nothing where leaving a flag out means nothing. Fields of the command itself come first."""
    hints = hints_of(command)
    fields = {name: command.model_fields[name] for name in _in_order(command)}
    command.__annotations__ = dict(command.__annotations__)
    for name, field in fields.items():
        words: dict[str, Any] = {"help_behavior_hint": partial(_hint, name, field)}
        given = [m for m in get_args(hints[name])[1:] if m is Positional or getattr(m, "metavar", None)]
        if not given and (values := _values(hints[name])):
            words["metavar"] = values
        command.__annotations__[name] = Annotated[hints[name], arg(**words)]
    command.__pydantic_fields__ = fields


def hints_of(command: type[BaseModel]) -> dict[str, Any]:
    """The types of a command's fields, with what is annotated."""
    return get_type_hints(command, include_extras=True)


def _in_order(command: type[BaseModel]) -> list[str]:
    """A command's own fields, then those of the schemas that it fills, in the order in which they are named."""
    own = [name for name in command.__annotations__ if name in command.model_fields]
    bases = [name for base in command.__bases__ for name in getattr(base, "model_fields", {})]
    return list(dict.fromkeys([*own, *bases]))


def bare(hint: Any) -> Any:
    """A type without annotations and without None."""
    while get_origin(hint) is Annotated:
        hint = get_args(hint)[0]
    if get_origin(hint) in (Union, types.UnionType):
        kinds = [k for k in get_args(hint) if k is not type(None)]
        return bare(kinds[0]) if len(kinds) == 1 else hint
    return hint


def choices(hint: Any) -> tuple[str, ...]:
    """The words that a type may be; none where it may be any."""
    kind = bare(hint)
    return tuple(map(str, get_args(kind))) if get_origin(kind) is Literal else ()


def _values(hint: Any) -> str:
    """What stands for a flag's value; "" where tyro's own word is plain."""
    kind = bare(hint)
    if words := choices(kind):
        return "{" + ",".join(words) + "}"
    if get_origin(kind) is tuple:
        return f"{KINDS.get(get_args(kind)[0], 'TEXT')}..."
    return KINDS.get(kind, "")


def _hint(name: str, field: FieldInfo, _: str) -> str:
    """The range and the default, in brackets; asked for when help is printed."""
    parts = [part for part in (_range(field), _default(name, field)) if part]
    return f"({'; '.join(parts)})" if parts else ""


def _range(field: FieldInfo) -> str:
    low, high = (next(_bounds(field, names), None) for names in (LOWEST, HIGHEST))
    if low is None and high is None:
        return ""
    if low is None:
        return f"at most {high:g}"
    if high is not None and high < 2**32:
        return f"{low:g} to {high:g}"
    return f"{low:g} or more" if bare(field.annotation) is int or low else f"more than {low:g}"


def _bounds(field: FieldInfo, names: tuple[str, str]) -> Iterator[float]:
    """Numbers that a field's values are compared with in any of these ways; of whole numbers the nearest that is in."""
    step = (1 if names == LOWEST else -1) if bare(field.annotation) is int else 0
    for bound in field.metadata:
        yield from (getattr(bound, n) + i * step for i, n in enumerate(names) if hasattr(bound, n))


def _default(name: str, field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    if value is None and name in Defaults.model_fields:
        own = _embedded().get(name)
        return "default: the model's own" + ("" if own is None else f", {_plain(own)} for sticker")
    if value is None or value is False or value == ():
        return ""
    return f"default: {' '.join(map(str, value)) if isinstance(value, tuple) else _plain(value)}"


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _embedded() -> dict[str, Any]:
    """What the embedded model was made for."""
    found: dict[str, Any] = json.loads((files("sfv") / "weights" / "sticker" / "unet" / "sfv.json").read_text())
    return found
