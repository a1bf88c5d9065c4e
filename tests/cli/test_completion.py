"""Completion in real shells, where they are installed."""

import shutil
import subprocess
from pathlib import Path

import pytest

from sfv.cli.completion import completion_script
from sfv.cli.main import Command

CASES = {
    "gen": {"generate"},
    "generate cat.png --for telegram wh": {"whatsapp"},
    "generate --move bo": {"bounce"},
    "generate --move bounce bo": set(),
    "generate --stiff o": {"on", "off"},
    "generate cat.png --keep": {"--keep-still"},
    "generate -o so": set(),
    "check-sticker a.webm --for s": {"slack", "signal"},
    "--completion z": {"zsh"},
}
"""Words so far -> what is offered; nothing where file names are."""
BASH = 'source "$1"; shift; COMP_WORDS=(sfv "$@"); COMP_CWORD=$#; _sfv; printf "%s\\n" "${COMPREPLY[@]}"'
ZSH = (
    "compdef() { }; _files() { }; compadd() { shift; print -l -- $@ }; _describe() { print -l -- ${${(P)2}%%:*} }; "
    'source "$1"; shift; words=(sfv "$@"); CURRENT=$(( $# + 1 )); _sfv'
)
FISH = 'source "$argv[1]"; complete -C "sfv $argv[2..]"'


def offered(shell: str, words: str, folder: Path) -> set[str]:
    """What a shell offers for the last word; zsh and fish themselves leave out what does not begin so."""
    script = folder / "script"
    script.write_text(completion_script(Command, shell))
    code = {"bash": BASH, "zsh": ZSH, "fish": FISH}[shell]
    command = [shell, "-c", code, *(["shell"] * (shell != "fish")), str(script), *words.split()]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    found = {line.partition("\t")[0] for line in done.stdout.splitlines() if line}
    return {word for word in found if word.startswith(words.split()[-1])}


@pytest.mark.parametrize("words", list(CASES))
@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_offers_words_and_flags(shell: str, words: str, tmp_path: Path) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    assert offered(shell, words, tmp_path) == CASES[words]


def test_bash_offers_files_where_it_has_no_words(tmp_path: Path) -> None:
    """A picture, and what follows -o: readline's own file names, by `-o default`."""
    (tmp_path / "song.png").touch()
    script = completion_script(Command, "bash")
    assert "complete -o default -F _sfv sfv" in script
    assert offered("bash", "generate so", tmp_path) == set()
