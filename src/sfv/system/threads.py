"""How OpenMP's threads wait for each other. Imports no torch: it counts only what is set before torch is loaded."""

import os

SPINS = "1000"
"""Rounds that a waiting thread looks before it sleeps. GNU OpenMP's own number, 300,000, is best on an idle machine by
a few per cent; on a busy one every wait costs the others a whole turn (docs/speed.md)."""


def wait_politely() -> None:
    """Let waiting threads sleep soon, in this process and those it starts, unless the user has chosen otherwise."""
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", SPINS)
