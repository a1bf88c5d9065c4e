"""Forked processes compute, though only one thread survives a fork."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

FORKED = """
import multiprocessing, sys, torch, sfv
from sfv.families.load import save
from sfv.families.motion.networks import TINY_MOTION, new_motion_model

def sums():
    return torch.arange(4_000_000).float().exp().isinf().sum().item()

torch.set_num_threads(2)
save(new_motion_model(TINY_MOTION, 0), sys.argv[1])
sfv.load(sys.argv[1])
expected = sums()
with multiprocessing.get_context("fork").Pool(1) as pool:
    assert pool.apply_async(sums).get(timeout=60) == expected
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="nothing is forked here")
def test_a_forked_process_computes(tmp_path: Path) -> None:
    code = FORKED.replace("sys.argv[1]", repr(tmp_path / "model").replace("PosixPath", "__import__('pathlib').Path"))
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert ended.returncode == 0, ended.stderr
