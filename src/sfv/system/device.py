"""Which device computes, and what it can do."""

import functools
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch

from sfv.errors import SfvError
from sfv.system.autocast import MetaAutocast


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


def bf16_autocast(device: torch.device, wanted: bool = True) -> AbstractContextManager[Any]:
    """Products in bfloat16 inside the block, if wanted and where the device computes in it."""
    if device.type == "meta":
        return MetaAutocast() if wanted else nullcontext()
    return torch.autocast(device.type, torch.bfloat16, enabled=wanted and computes_bf16(device))


def host_of(device: torch.device) -> torch.device:
    """Where what waits for the end of a run is kept: the CPU. Tensors without numbers stay without."""
    return device if device.type == "meta" else torch.device("cpu")


def _cpu_flags() -> str:
    try:
        return Path("/proc/cpuinfo").read_text()
    except OSError:
        return ""
