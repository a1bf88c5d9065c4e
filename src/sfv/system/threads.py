"""How OpenMP's threads wait for each other, and what is left of them in a forked process. Imports no torch: how they
wait counts only where it is set before torch is loaded."""

import os
import sys
from functools import cache

SPINS = "1000"
"""Rounds that a waiting thread looks before it sleeps. GNU OpenMP's own number, 300,000, is best on an idle machine by
a few per cent; on a busy one every wait costs the others a whole turn (docs/speed.md)."""


def wait_politely() -> None:
    """Let waiting threads sleep soon, in this process and those it starts, unless the user has chosen otherwise."""
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", SPINS)


@cache
def one_thread_after_fork() -> None:
    """Let forked processes compute on one thread: the others are not there after a fork, and would be waited for, for
    ever. Where nothing is forked (Windows), nothing."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=_one_thread)


def _one_thread() -> None:
    if (torch := sys.modules.get("torch")) is not None:
        torch.set_num_threads(1)
