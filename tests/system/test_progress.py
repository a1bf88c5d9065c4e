"""Bars that a command may leave out, and lines beside them."""

import io
import sys

import pytest

from sfv.system.progress import bar, no_bars, say


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """In a test itself: pytest puts its own error stream in place after fixtures."""
    shown = Terminal()
    monkeypatch.setattr(sys, "stderr", shown)
    return shown


def test_bars_are_hidden_inside(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = terminal(monkeypatch)
    with no_bars(), bar(total=2, desc="hidden") as shown:
        shown.update()
    with no_bars(False), bar(total=2, desc="seen") as shown:
        shown.update()
    assert "seen" in seen.getvalue() and "hidden" not in seen.getvalue()


def test_a_file_gets_no_bar(capsys: pytest.CaptureFixture[str]) -> None:
    with bar(total=2, desc="animate") as shown:
        shown.update()
        say("sfv: bad.png is no picture", wrong=True)
    assert capsys.readouterr().err == "sfv: bad.png is no picture\n"


def test_a_line_stands_alone_beside_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = terminal(monkeypatch)
    with bar(total=2, desc="animate") as shown:
        shown.update()
        say("made", wrong=True)
    before = seen.getvalue().partition("made\n")[0]
    assert before.endswith("\r") and not before.rpartition("\r")[0].rpartition("\r")[2].strip()
