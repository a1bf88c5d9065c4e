"""Two processes do what one does: same data, same losses, checkpoints that change hands."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from sfv.training.seeds import Seeds

HERE = Path(__file__).parent.parent


def launch(ranks: int, *args: object) -> None:
    """Run ranks.py in `ranks` gloo processes, as torchrun would."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    everywhere = os.environ | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(ranks)}
    everywhere |= {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(HERE)}
    if ranks == 1:
        del everywhere["WORLD_SIZE"]
    command = [sys.executable, str(HERE / "ranks.py"), *map(str, args)]
    own = [everywhere | {"RANK": str(r), "LOCAL_RANK": str(r)} for r in range(ranks)]
    running = [subprocess.Popen(command, env=e, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) for e in own]
    said = [p.communicate(timeout=240)[0].decode() for p in running]
    assert [p.returncode for p in running] == [0] * ranks, "\n".join(said)[-3000:]


def losses(folder: Path) -> list[dict[str, float]]:
    rows = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [{k: v for k, v in r.items() if k != "seconds_per_step"} for r in rows]


def same(a: list[dict[str, float]], b: list[dict[str, float]], keys: tuple[str, ...], bound: float) -> None:
    assert len(a) == len(b) > 0
    for one, other in zip(a, b, strict=True):
        for key in keys:
            assert one[key] == pytest.approx(other[key], rel=bound, abs=bound), (one["step"], key)


def test_a_clip_draws_the_same_in_any_split() -> None:
    whole = Seeds(5, 7).clips(4).normal(3)
    ranks = [Seeds(5, 7, rank).clips(2).normal(3) for rank in (0, 1)]
    parts = [Seeds(5, 7).clips(2, part, 2).normal(3) for part in (0, 1)]
    assert all((v[0] == whole[:2]).all() and (v[1] == whole[2:]).all() for v in (ranks, parts))
    shared = [Seeds(5, 7, rank).clips(2).shared.initial_seed() for rank in (0, 1)]
    assert shared[0] == shared[1]


@pytest.mark.parametrize("mode", ["ddp", "fsdp"])
def test_two_ranks_are_one(mode: str, tmp_path: Path) -> None:
    """20 steps of the student, the same global batch: losses within 1e-4."""
    launch(1, "student", "ddp", 2, 1, 20, tmp_path / "one")
    launch(2, "student", mode, 1, 1, 20, tmp_path / "two")
    same(losses(tmp_path / "one"), losses(tmp_path / "two"), ("d_loss", "huber", "g_adv"), 1e-4)
    sums = [json.loads((tmp_path / k / "sum.json").read_text()) for k in ("one", "two")]
    assert sums[0] == pytest.approx(sums[1], rel=1e-4)


def test_two_shards_are_one_under_sm3(tmp_path: Path) -> None:
    """The paper's optimiser, sharded: rows lie on their ranks, columns are of all of them."""
    launch(1, "student", "ddp", 2, 1, 6, tmp_path / "one", "sm3")
    launch(2, "student", "fsdp", 1, 1, 6, tmp_path / "two", "sm3")
    same(losses(tmp_path / "one"), losses(tmp_path / "two"), ("d_loss", "huber", "g_adv"), 1e-4)
    sums = [json.loads((tmp_path / k / "sum.json").read_text()) for k in ("one", "two")]
    assert sums[0] == pytest.approx(sums[1], rel=1e-4)


def test_accumulation_is_a_larger_batch(tmp_path: Path) -> None:
    launch(1, "teacher", "ddp", 2, 1, 4, tmp_path / "whole")
    launch(1, "teacher", "ddp", 1, 2, 4, tmp_path / "parts")
    same(losses(tmp_path / "whole"), losses(tmp_path / "parts"), ("loss", "grad_norm"), 2e-2)


def test_a_checkpoint_of_two_ranks_goes_on_in_one(tmp_path: Path) -> None:
    """4 steps on two sharded ranks, then 4 on one = 8 on one."""
    launch(1, "student", "ddp", 2, 1, 8, tmp_path / "one")
    launch(2, "student", "fsdp", 1, 1, 4, tmp_path / "two")
    config = tmp_path / "two" / "config.json"
    config.unlink()
    launch(1, "student", "ddp", 2, 1, 8, tmp_path / "two")
    same(losses(tmp_path / "one"), losses(tmp_path / "two"), ("d_loss", "huber"), 2e-2)
