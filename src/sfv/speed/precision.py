"""What a stage computes in."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn


def cast(network: nn.Module, dtype: torch.dtype | None) -> nn.Module:
    """A copy in another precision, the network itself where it has that one."""
    stored = next(network.parameters()).dtype
    if dtype is None or dtype == stored:
        return network
    copied = copy.deepcopy(network)
    for tensor in (*copied.parameters(), *copied.buffers()):
        tensor.data = tensor.data.to(dtype) if tensor.is_floating_point() else tensor.data
    return copied


@contextmanager
def in_float32(network: Any) -> Iterator[None]:
    """A small decoder in its weights' precision inside the block; other networks as they are."""
    quick = getattr(network, "compute", None)
    try:
        if quick is not None:
            network.compute = None
        yield
    finally:
        if quick is not None:
            network.compute = quick


def _computes_bf16(network: nn.Module) -> bool:
    """A small decoder's own choice."""
    return getattr(network, "compute", None) == torch.bfloat16
