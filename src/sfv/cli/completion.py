"""Scripts by which shells complete a command line: commands, flags, the words that a flag takes, files elsewhere.

They are made of the commands' own fields, and run nothing of ours.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, get_args, get_origin

from tyro.conf import Positional

from sfv.cli.help import bare, choices, hints_of
from sfv.platforms.table import PLATFORMS

WORDS: dict[str, tuple[str, ...]] = {
    "--for": tuple(PLATFORMS),
    "--model": ("sticker", "sticker-teacher"),
    "--device": ("auto", "cpu", "cuda", "mps"),
}
"""What flags take whose type allows any text."""


@dataclass(frozen=True)
class Flag:
    """A flag of a command."""

    names: tuple[str, ...]
    words: tuple[str, ...]
    """What it takes; none: a file, a number or a text."""
    switch: bool
    """Takes nothing."""
    many: bool
    """Takes several words."""
    about: str


def completion_script(commands: Any, shell: str) -> str:
    """The script for bash, zsh or fish; `commands` is a union of pydantic models, each annotated with its name."""
    known = {get_args(c)[1].name: get_args(c)[0] for c in get_args(commands)}
    flags = {name: list(_flags(model)) for name, model in known.items()}
    abouts = {name: _first_line(model.__doc__) for name, model in known.items()}
    return {"bash": _bash, "zsh": _zsh, "fish": _fish}[shell](flags, abouts)


def _flags(model: Any) -> Iterator[Flag]:
    hints = hints_of(model)
    for name, field in model.model_fields.items():
        more = get_args(hints[name])[1:]
        if Positional in more:
            continue
        config = [m for m in more if hasattr(m, "aliases")]
        given = next((m.name for m in config if m.name), name.rstrip("_"))
        aliases = next((tuple(m.aliases) for m in config if m.aliases), ())
        long = f"--{given.replace('_', '-')}"
        kind, about = bare(hints[name]), _first_line(field.description)
        yield Flag((*aliases, long), _words(long, hints[name]), kind is bool, get_origin(kind) is tuple, about)
        if kind is bool:
            yield Flag((f"--no-{long[2:]}",), (), True, False, f"not {long}")
    yield Flag(("-h", "--help"), (), True, False, "show help and exit")


def _words(flag: str, hint: Any) -> tuple[str, ...]:
    kind = bare(hint)
    inner = get_args(kind)[0] if get_origin(kind) is tuple else kind
    return choices(inner) or WORDS.get(flag, ())


def _first_line(text: str | None) -> str:
    """The first sentence, without what a shell would read."""
    line = " ".join((text or "").split()).partition(". ")[0].rstrip(".")
    return "".join(c for c in line if c not in "'\"`$\\[]:")


BASH = """\
# Completion of sfv for bash: eval "$(sfv --completion bash)"
_sfv() {
  local word="${COMP_WORDS[COMP_CWORD]}" command="${COMP_WORDS[1]}" flag="" at=0 i
  COMPREPLY=()
  if (( COMP_CWORD == 1 )); then
    COMPREPLY=($(compgen -W "COMMANDS --version --completion --help" -- "$word"))
    return
  fi
  for (( i = 2; i < COMP_CWORD; i++ )); do
    [[ "${COMP_WORDS[i]}" == -* ]] && flag="${COMP_WORDS[i]}" at=$i
  done
  if [[ "$word" == -* ]]; then
    case "$command" in
FLAGS
    esac
    return
  fi
  case "$command $flag $(( COMP_CWORD - at ))" in
WORDS
  esac
}
complete -o default -F _sfv sfv
"""


def _bash(flags: dict[str, list[Flag]], abouts: dict[str, str]) -> str:
    lists, words = [], []
    for command, those in flags.items():
        names = " ".join(n for f in those for n in f.names)
        lists.append(f'      {command}) COMPREPLY=($(compgen -W "{names}" -- "$word")) ;;')
        for f in those:
            if f.words:
                words.append(f'    {_where(command, f)}) COMPREPLY=($(compgen -W "{" ".join(f.words)}" -- "$word")) ;;')
    words.append('    "--completion "*) COMPREPLY=($(compgen -W "bash zsh fish" -- "$word")) ;;')
    made = BASH.replace("COMMANDS", " ".join(abouts))
    return made.replace("FLAGS", "\n".join(lists)).replace("WORDS\n", "\n".join(words) + "\n")


def _where(command: str, flag: Flag) -> str:
    """The pattern of a word that a flag takes: right behind it, or anywhere behind it where it takes several."""
    return "|".join(f'"{command} {n} "*' if flag.many else f'"{command} {n} 1"' for n in flag.names)


ZSH = """\
#compdef sfv
# Completion of sfv for zsh: eval "$(sfv --completion zsh)", after compinit
_sfv() {
  local command="${words[2]}" flag="" at=0 i
  if (( CURRENT == 2 )); then
    local -a commands=(
COMMANDS
    )
    _describe command commands
    return
  fi
  for (( i = 3; i < CURRENT; i++ )); do
    [[ "${words[i]}" == -* ]] && flag="${words[i]}" at=$i
  done
  if [[ "${words[CURRENT]}" == -* ]]; then
    local -a flags
    case "$command" in
FLAGS
    esac
    _describe flag flags
    return
  fi
  case "$command $flag $(( CURRENT - at ))" in
WORDS
    *) _files ;;
  esac
}
compdef _sfv sfv
"""


def _zsh(flags: dict[str, list[Flag]], abouts: dict[str, str]) -> str:
    lists, words = [], []
    for command, those in flags.items():
        names = " ".join(f"'{n}:{f.about}'" for f in those for n in f.names)
        lists.append(f"      {command}) flags=({names}) ;;")
        for f in those:
            if f.words:
                files = "; _files" if f.many or "--model" in f.names else ""
                words.append(f"    {_where(command, f)}) compadd -- {' '.join(f.words)}{files} ;;")
    words.append('    "--completion "*) compadd -- bash zsh fish ;;')
    made = ZSH.replace("COMMANDS", "\n".join(f"      '{n}:{about}'" for n, about in abouts.items()))
    return made.replace("FLAGS", "\n".join(lists)).replace("WORDS\n", "\n".join(words) + "\n")


def _fish(flags: dict[str, list[Flag]], abouts: dict[str, str]) -> str:
    lines = ["# Completion of sfv for fish: sfv --completion fish | source"]
    lines += [f"complete -c sfv -f -n __fish_use_subcommand -a {n} -d '{about}'" for n, about in abouts.items()]
    lines.append("complete -c sfv -f -n __fish_use_subcommand -l completion -xa 'bash zsh fish'")
    for command, those in flags.items():
        for f in those:
            names = " ".join(f"-l {n[2:]}" if n.startswith("--") else f"-s {n[1:]}" for n in f.names)
            takes = "" if f.switch else f" -xa '{' '.join(f.words)}'" if f.words else " -r"
            seen = f"'__fish_seen_subcommand_from {command}'"
            lines.append(f"complete -c sfv -n {seen} {names}{takes} -d '{f.about}'")
            if f.many and f.words:  # fish itself takes a flag for having one word
                after = f"'__fish_seen_subcommand_from {command}; and __fish_contains_opt {f.names[-1][2:]}'"
                lines.append(f"complete -c sfv -n {after} -a '{' '.join(f.words)}'")
    return "\n".join(lines) + "\n"
