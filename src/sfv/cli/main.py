"""Flags and exit codes; no tensors. Every command is a pydantic model, so help, checks and Python share one schema."""

import io
import os
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, NoReturn

from tyro.conf import subcommand

from sfv.cli.clips import CheckSticker, Compare, Generate, Replay
from sfv.cli.completion import completion_script
from sfv.cli.data import Encode, Pack
from sfv.cli.measure import Bench, Doctor, Evaluate, Study
from sfv.cli.models import Average, Count, Export, Import, Optimize, Report, Train
from sfv.cli.parsing import parsed
from sfv.cli.servers import Demo, Serve
from sfv.errors import FlagError, SfvError
from sfv.system.files import unwritten
from sfv.system.memory import keep_memory
from sfv.system.threads import wait_politely

SHELLS = ("bash", "zsh", "fish")
"""For which `sfv --completion` prints a script."""
Command = (
    Annotated[Generate, subcommand("generate")]
    | Annotated[Replay, subcommand("replay")]
    | Annotated[CheckSticker, subcommand("check-sticker")]
    | Annotated[Compare, subcommand("compare")]
    | Annotated[Demo, subcommand("demo")]
    | Annotated[Bench, subcommand("bench")]
    | Annotated[Optimize, subcommand("optimize")]
    | Annotated[Doctor, subcommand("doctor")]
    | Annotated[Evaluate, subcommand("evaluate")]
    | Annotated[Study, subcommand("study")]
    | Annotated[Pack, subcommand("pack")]
    | Annotated[Encode, subcommand("encode")]
    | Annotated[Count, subcommand("account")]
    | Annotated[Train, subcommand("train")]
    | Annotated[Report, subcommand("report")]
    | Annotated[Average, subcommand("average")]
    | Annotated[Import, subcommand("import")]
    | Annotated[Export, subcommand("export")]
    | Annotated[Serve, subcommand("serve")]
)


def main(argv: list[str] | None = None) -> int:
    """Parse, run, and turn SfvError into one sentence and exit code 1 (2 for bad flags)."""
    try:
        wait_politely()
        words = _gathered(sys.argv[1:] if argv is None else argv)
        if words[:1] != ["serve"]:  # its workers keep theirs; a server would keep what large pictures took
            keep_memory()
        if words[:1] == ["--version"]:
            print(f"sfv {version('sfv')}")
            return 0
        if words[:1] == ["--completion"]:
            print(completion_script(Command, _shell(words)), end="")
            return 0
        return int(parsed(Command, words, DESCRIPTION).run())
    except SfvError as error:
        print(f"sfv: {error}", file=sys.stderr)
        return 2 if isinstance(error, FlagError) else 1
    except KeyboardInterrupt:
        print("sfv: stopped", file=sys.stderr)
        return 130
    except BrokenPipeError:  # whoever read what is printed has gone, as `| head` does
        return 141
    except OSError as error:  # the disk's own fault is one sentence, ours a traceback
        place = Path("a file" if error.filename is None else str(error.filename))
        said = unwritten(error, place, place)
        if said is None:
            raise
        print(f"sfv: {said}", file=sys.stderr)
        return 1


def _shell(words: list[str]) -> str:
    """What follows `--completion`."""
    if len(words) != 2 or words[1] not in SHELLS:
        raise FlagError(f"--completion wants one of {', '.join(SHELLS)}, such as: sfv --completion bash")
    return words[1]


def _gathered(words: list[str]) -> list[str]:
    """All that several `--set` say behind one: of a flag that is given again, tyro keeps the last alone."""
    if words.count("--set") < 2:
        return words
    rest, values, inside = list[str](), list[str](), False
    for word in words:
        inside = word == "--set" or (inside and not word.startswith("-"))
        if word != "--set":
            (values if inside else rest).append(word)
    return [*rest, "--set", *values]


def entry() -> NoReturn:
    """Console script. Names of files that the terminal cannot show are shown escaped; bars are rare in a log."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="backslashreplace")
    if sys.stderr is None or not sys.stderr.isatty():
        os.environ.setdefault(
            "TQDM_MININTERVAL", "10"
        )  # a bar in a log is a line now and then; read as tqdm is imported
    code = main()
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python says so once more as it ends
        code = 141
    sys.exit(code)


DESCRIPTION = "One forward pass from a still to a moving picture."
