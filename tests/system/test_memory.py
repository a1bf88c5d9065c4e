"""Memory that was kept for the next clip goes back to the system when it is asked to."""

import subprocess
import sys

import pytest

KEPT = """
from sfv.system.memory import anonymous, give_back_memory, keep_memory
keep_memory()
held = [bytearray(1 << 20) for _ in range(200)]
pin = bytearray(1 << 20)
held.clear()
before = anonymous()
assert give_back_memory()
print(before - anonymous())
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc alone has it")
def test_what_is_freed_is_given_back() -> None:
    done = subprocess.run([sys.executable, "-c", KEPT], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 150 << 20
