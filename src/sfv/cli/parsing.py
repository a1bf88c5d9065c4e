"""Words of a command line -> a command; what tyro says of wrong ones as one sentence, with the nearest right word."""

import contextlib
import difflib
import io
import re
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, get_args

import tyro

from sfv.errors import FlagError

BOX = str.maketrans("│─", "  ")
NUMBERS = {"int": "a whole number", "float": "a number"}


def parsed(commands: Any, words: Sequence[str], about: str) -> Any:
    """The command that `words` ask for. FlagError in one sentence; help is printed and ends the program as tyro does.

    `commands` is a union of pydantic models, each annotated with its name.
    """
    names = [get_args(c)[1].name for c in get_args(commands)]
    if words and not words[0].startswith("-") and words[0] not in names:
        raise FlagError(f"{words[0]} is no command{_nearest(words[0], names)}; choose from {', '.join(names)}")
    if any(not word and not before.startswith("-") for before, word in pairwise(words)):
        raise FlagError("an empty name is given, as an unset variable gives one; leave it out, or name a file")
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            return tyro.cli(commands, prog="sfv", args=list(words), description=about)
    except SystemExit as error:
        if not error.code:
            raise
        command = f"sfv {words[0]}" if words and words[0] in names else "sfv"
        raise FlagError(sentence(said.getvalue(), command, _flags(commands, words))) from error


def sentence(box: str, command: str, flags: Sequence[str]) -> str:
    """tyro's box of an error as one sentence; in its own words, without the frame, where it is of no known kind."""
    text = re.sub(r"\s+", " ", re.sub(r"^[╭╰].*$", "", box, flags=re.M).translate(BOX)).strip()
    if found := re.search(r"Unrecognized options: (\S+?)(?:,| )", f"{text} "):
        word = found[1]
        if not word.startswith("-"):
            return f"{command} takes no {word} here; see {command} --help"
        return f"{word} is no flag of {command}{_nearest(word, flags)}; see {command} --help"
    if found := re.search(r"invalid choice '(.*?)' for argument '(.*?)'\. Expected one of \((.*?)\)", text):
        choices = sorted(set(re.findall(r"'(.*?)'", found[3])) - {"None"})
        return f"{found[2]} {found[1]}: must be one of {', '.join(choices)}"
    if found := re.search(r"Error parsing (\S+): .*?(\[.*?\]|'[^']*')\.?(?: |$)(.*)", text):
        value = " ".join(re.findall(r"'(.*?)'", found[2]))
        kind = next((plain for name, plain in NUMBERS.items() if f"{name}()" in text or f"to {name}" in text), "")
        return f"{found[1]} {value}: must be {kind or 'a value as in the help'}; see {command} --help"
    if found := re.search(r"Missing value for argument '(.*?)'", text):
        return f"{found[1]} needs a value; see {command} --help"
    if found := re.search(r"Missing from .*?: (\S+)", text):
        return f"{command} needs {found[1]}; see {command} --help"
    return re.split(r" For full helptext", text)[0].strip(" .") or f"{command} was not understood; see {command} --help"


def _nearest(word: str, known: Sequence[str]) -> str:
    """What was probably meant."""
    near = difflib.get_close_matches(word, known, 1)
    return f" (did you mean {near[0]}?)" if near else ""


def _flags(commands: Any, words: Sequence[str]) -> list[str]:
    """The flags of the command that is named."""
    named = {get_args(c)[1].name: get_args(c)[0] for c in get_args(commands)}
    model = named.get(words[0]) if words else None
    return [f"--{f.rstrip('_').replace('_', '-')}" for f in model.model_fields] if model else []
