"""Wrong words of a command line: one sentence each, with the nearest right word; no frames, no tracebacks."""

import pytest

from sfv import __version__
from sfv.cli.main import main
from sfv.cli.parsing import sentence

WRONG = {
    "generat x.png": "generat is no command (did you mean generate?); choose from generate, replay",
    "frob x.png": "frob is no command; choose from generate",
    "generate --formt webp a.png": "--formt is no flag of sfv generate (did you mean --format?); see sfv",
    "generate -x a.png": "-x is no flag of sfv generate; see",
    "generate --format avi a.png": "--format avi: must be one of gif, mp4, png, webm, webp",
    "generate --move wink a.png": "--move wink: must be one of auto, blink, bounce, float, free, nod, pulse, shake",
    "generate --seed abc a.png": "--seed abc: must be a whole number; see sfv generate --help",
    "generate --fps fast a.png": "--fps fast: must be a number; see sfv generate --help",
    "account --frames x": "--frames x: must be a whole number",
    "generate --fps": "--fps needs a value",
    "replay": "sfv replay needs FILE; see sfv replay --help",
    "doctor zz": "sfv doctor takes no zz here",
    "compare --models": "--models names nothing; give at least one",
    "bench --models": "--models names nothing; give at least one",
    "optimize --backends": "--backends names nothing; give at least one",
    "bench --rounds 0": "--rounds 0: input should be greater than 0",
}


@pytest.mark.parametrize("words", list(WRONG))
def test_a_wrong_word_is_one_sentence(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words.split()) == 2
    said = capsys.readouterr()
    assert said.out == "" and said.err.startswith(f"sfv: {WRONG[words]}") and said.err.count("\n") == 1


def test_the_version_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"sfv {__version__}\n"


def test_help_is_still_tyros(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["--help"], ["generate", "--help"]):
        with pytest.raises(SystemExit) as ended:
            main(words)
        assert ended.value.code == 0
    assert "--play-fps" in capsys.readouterr().out


def test_a_box_of_an_unknown_kind_keeps_its_words() -> None:
    box = "╭─ Odd ─╮\n│ Something else   │\n│ is wrong. │\n╰──╯\n"
    assert sentence(box, "sfv", ()) == "Something else is wrong"
    assert sentence("", "sfv generate", ()) == "sfv generate was not understood; see sfv generate --help"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_a_script_that_knows_the_commands(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--completion", shell]) == 0
    script = capsys.readouterr().out
    assert "check-sticker" in script and "keep-still" in script


@pytest.mark.parametrize("words", [["--completion"], ["--completion", "tcsh2"]])
def test_completion_for_no_shell_is_one_sentence(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    assert capsys.readouterr().err == (
        "sfv: --completion wants one of bash, zsh, fish, such as: sfv --completion bash\n"
    )
