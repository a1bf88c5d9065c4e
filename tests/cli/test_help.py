"""What help says of values and defaults."""

import re
from typing import get_args

import pytest

from sfv.cli.main import Command, main

NAMES = [get_args(c)[1].name for c in get_args(Command)]


def said(command: str, capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit):
        main([command, "--help"])
    return " ".join(capsys.readouterr().out.replace("│", " ").split())


@pytest.mark.parametrize("command", NAMES)
def test_types_are_plain_and_defaults_are_real(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = said(command, capsys)
    assert not re.search(r"\bNone\b(?! )|\{None|default: ?\)|\b(STR|INT|FLOAT)\b", text)


def test_ranges_and_the_models_own_defaults_are_said(capsys: pytest.CaptureFixture[str]) -> None:
    text = said("generate", capsys)
    assert "--fps NUMBER" in text and "(2 to 60; default: the model's own, 8 for sticker)" in text
    assert "--steps N " in text and "(1 to 1000; default: the model's own, 1 for sticker)" in text
    assert "--seed N " in text and "(0 or more; default: 0)" in text


def test_makers_flags_come_first(capsys: pytest.CaptureFixture[str]) -> None:
    text = said("generate", capsys)
    assert text.index("--out PATH") < text.index("--move {") < text.index("--backend {") < text.index("--ray-address")
