"""GPU kernels in Triton, each beside the plain torch it must equal. Nothing here is imported until a GPU asks."""

import importlib.util
import os

import torch

OLDEST = 8
"""Compute capability from which bfloat16 and the kernels' block sizes are at home (A100)."""


def interpreted() -> bool:
    """Whether Triton runs in its interpreter, on the CPU and slowly: for tests (TRITON_INTERPRET=1)."""
    return os.environ.get("TRITON_INTERPRET") == "1"


def refusal(device: torch.device) -> str:
    """Why the kernels cannot run there; empty if they can."""
    if importlib.util.find_spec("triton") is None:
        return 'kernels need Triton: pip install "sfv[kernels]"'
    if device.type == "cuda":
        old = torch.cuda.get_device_capability(device)[0] < OLDEST
        return f"kernels need a GPU of compute capability {OLDEST} or newer" if old else ""
    return "" if interpreted() else f"kernels are for GPUs, not {device.type}"
