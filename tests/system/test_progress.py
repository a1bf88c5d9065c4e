"""Bars that a command may leave out."""

import pytest

from sfv.system.progress import bar, no_bars


def test_bars_are_left_out_where_that_is_wanted(capsys: pytest.CaptureFixture[str]) -> None:
    with no_bars(), bar(total=2, desc="hidden") as shown:
        shown.update()
    with no_bars(False), bar(total=2, desc="seen") as shown:
        shown.update()
    with bar(total=2, desc="after") as shown:
        shown.update()
    err = capsys.readouterr().err
    assert "hidden" not in err and "seen" in err and "after" in err
