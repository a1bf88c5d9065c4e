"""A run keeps what it was begun with, and one process trains it at a time."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from sfv.errors import SfvError
from sfv.families.base import sketch
from sfv.training import begun as module
from sfv.training.begun import BEGUN, Beginning, beginning, begun, data_mark
from sfv.training.parallel import ALONE

NOW = Beginning(init="svd", model="aa", store="shards", data="bb", own=False)


def go(folder: Path, now: Beginning) -> None:
    with begun(folder, now, ALONE):
        pass


def test_a_sketch_tells_networks_apart_and_knows_them_again() -> None:
    torch.manual_seed(0)
    first, other = nn.Linear(300, 300), nn.Linear(300, 300)
    other.load_state_dict(first.state_dict())
    assert sketch([first]) == sketch([other]) != sketch([first, other])
    with torch.no_grad():
        other.weight += 0.01
    assert sketch([first]) != sketch([other])
    assert sketch([nn.Linear(2, 3)]) != sketch([nn.Linear(3, 2)])


def test_data_are_known_by_their_clips_wherever_they_lie(tmp_path: Path) -> None:
    index = {"codec": "c", "fps": 7.0, "model": "svd", "clips": [{"id": "a"}]}
    for name, changes in {"a": {}, "b": {"model": "/elsewhere"}, "c": {"clips": []}, "d": {"codec": "e"}}.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "index.json").write_text(json.dumps(index | changes))
    a, b, c, d = (data_mark(tmp_path / name) for name in "abcd")
    assert a == b and len({a, c, d}) == 3


def test_another_model_and_other_data_are_refused(tmp_path: Path) -> None:
    go(tmp_path, NOW)
    go(tmp_path, replace(NOW, init="moved/svd", store="moved/shards"))
    with pytest.raises(SfvError, match="--init was svd and svd2 holds other weights, which cannot change within a run"):
        go(tmp_path, replace(NOW, init="svd2", model="cc"))
    with pytest.raises(SfvError, match="the data were shards and more holds other clips, which cannot change"):
        go(tmp_path, replace(NOW, store="more", data="dd"))
    assert json.loads((tmp_path / BEGUN).read_text())["init"] == "svd"
    go(tmp_path, replace(NOW, init="", model="changed by the run", own=True))


def test_a_folder_that_its_own_run_changes_goes_on(tmp_path: Path) -> None:
    own = replace(NOW, init="model", own=True)
    go(tmp_path / "a", own)
    go(tmp_path / "a", replace(own, model="trained"))
    with pytest.raises(SfvError, match="--init was model and svd2 holds other weights"):
        go(tmp_path / "a", replace(own, init="svd2", model="cc", own=False))
    go(tmp_path / "b", NOW)
    with pytest.raises(SfvError, match="--init was svd and model holds other weights"):
        go(tmp_path / "b", replace(own, model="trained"))
    go(tmp_path / "c", replace(own, init=""))
    with pytest.raises(SfvError, match="the run began with its own folder and svd2 holds other weights"):
        go(tmp_path / "c", replace(NOW, init="svd2", model="cc"))


def test_whether_a_model_is_the_folder_itself_is_not_a_matter_of_spelling(tmp_path: Path) -> None:
    (tmp_path / "index.json").write_text("{}")
    found = [beginning((), tmp_path, init, tmp_path).own for init in (None, tmp_path / "x" / "..", tmp_path / "x")]
    assert found == [True, True, False]


def test_a_run_of_an_older_version_gets_a_beginning(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    go(tmp_path, NOW)
    with pytest.raises(SfvError, match="holds other weights"):
        go(tmp_path, replace(NOW, model="cc"))


def test_a_damaged_beginning_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / BEGUN).write_text('{"init": 3')
    with pytest.raises(SfvError, match="begun.json is damaged; delete it to go on"):
        go(tmp_path, NOW)


HOLDING = """
import sys, time
from pathlib import Path
from sfv.training.begun import Beginning, begun
from sfv.training.parallel import ALONE
with begun(Path(sys.argv[1]), Beginning("svd", "aa", "shards", "bb", False), ALONE):
    print("held", flush=True)
    time.sleep(600)
"""


def test_a_second_process_is_refused_until_the_first_has_died(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLDING, str(tmp_path)], stdout=subprocess.PIPE, text=True) as first:
        assert first.stdout and first.stdout.readline() == "held\n"
        with pytest.raises(SfvError, match="is being trained by another process; wait for it"):
            go(tmp_path, NOW)
        os.kill(first.pid, signal.SIGKILL)
    go(tmp_path, NOW)
    go(tmp_path, NOW)


def test_where_there_are_no_locks_it_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(module, "fcntl", None)
    go(tmp_path, NOW)
    assert "cannot be locked (this system has no flock); see that no second" in capsys.readouterr().err
