"""Which device computes, and what it can do."""

import functools
from pathlib import Path

import torch

from sfv.errors import SfvError


def pick_device(name: str) -> torch.device:
    """auto: cuda if there is one, else the CPU."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).split("\n")[0]
        raise SfvError(f"device {name!r} cannot be used ({reason}); try --device cpu") from error
    return device


@functools.cache
def has_bf16() -> bool:
    """Whether this CPU multiplies bfloat16 natively (AVX512-BF16, AMX or the like)."""
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported()) and "avx512_bf16" in _cpu_flags()


def computes_bf16(device: torch.device) -> bool:
    """Whether bfloat16 is quicker than float32 there: on a CPU that only imitates it, it is many times slower."""
    return device.type != "cpu" or has_bf16()


def bf16_autocast(device: torch.device, wanted: bool = True) -> torch.autocast:
    """Products in bfloat16 inside the block, if wanted and where the device computes in it."""
    return torch.autocast(device.type, torch.bfloat16, enabled=wanted and computes_bf16(device))


def _cpu_flags() -> str:
    try:
        return Path("/proc/cpuinfo").read_text()
    except OSError:
        return ""
