"""How this process keeps the memory it frees, and how much it held."""

import ctypes
import sys
from pathlib import Path

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
GIGABYTE = 1 << 30


def keep_memory() -> bool:
    """Let glibc keep freed blocks of up to 1 GB instead of returning them to the system; False where it is not glibc.

    torch has no caching allocator on a CPU: every large activation is otherwise mapped, faulted in page by page and
    unmapped again, which took 40 % of a decode on a virtual machine. It changes the whole process, so commands and
    services call it at their start; a library user decides.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return bool(mallopt(M_MMAP_THRESHOLD, GIGABYTE)) and bool(mallopt(M_TRIM_THRESHOLD, 2**31 - 1))


def give_back_memory() -> bool:
    """Return what is freed to the system, whatever `keep_memory` said; False where it is not glibc."""
    if not sys.platform.startswith("linux"):
        return False
    malloc_trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    return malloc_trim is not None and bool(malloc_trim(0))


def reset_peak() -> bool:
    """Reset the process's peak of resident memory; False where the system cannot (only Linux can)."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


def peak_resident() -> int:
    """Bytes: the largest resident memory since `reset_peak`."""
    return _status("VmHWM")


def anonymous() -> int:
    """Bytes of resident memory that no file backs: what the system cannot take back (mapped files it can)."""
    return _status("RssAnon")


def _status(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith(f"{name}:")).split()[1])
