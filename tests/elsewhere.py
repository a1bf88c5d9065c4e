"""A device that is not the host, without one: PyTorch's meta device, whose tensors say ones when they are asked.

What mixes tensors of the host with tensors of the device fails there as it would on a GPU; no number is right.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from sfv.costs.counting import ASKED, Tally
from sfv.training import checkpoint, ema
from sfv.training.objectives import distil, learner

DEVICE = torch.device("meta")


class Ones(TorchFunctionMode):
    """Inside the block tensors of the device come to the host as ones."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """As it is, but for what needs numbers."""
        named = kwargs or {}
        if not args or not isinstance(args[0], Tensor):
            return func(*args, **named)
        if func is Tensor.copy_ and not args[0].is_meta and args[1].is_meta:
            return args[0].fill_(1)
        if not args[0].is_meta:
            return func(*args, **named)
        if func in ASKED:
            return ASKED[func](args[0])
        if func is Tensor.numpy or func is Tensor.cpu or (func is Tensor.to and _to_host(*args[1:], *named.values())):
            dtypes = [v for v in (*args[1:], *named.values()) if isinstance(v, torch.dtype)]
            ones = torch.ones(args[0].shape, dtype=dtypes[0] if dtypes else args[0].dtype)
            return ones.numpy() if func is Tensor.numpy else ones
        return func(*args, **named)


def _to_host(*asked: Any) -> bool:
    """Whether arguments of `Tensor.to` name the CPU, by name or by a tensor that lies there."""
    return any(
        (isinstance(v, Tensor) and not v.is_meta)
        or (isinstance(v, str | torch.device) and torch.device(v).type == "cpu")
        for v in asked
    )


@contextmanager
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Inside the block the meta device stands for a GPU, and the host is the CPU."""
    autocast = torch.autocast
    monkeypatch.setattr(torch, "autocast", lambda kind, *a, **k: autocast("cpu" if kind == "meta" else kind, *a, **k))
    for module in (distil, ema, learner):
        monkeypatch.setattr(module, "host_of", lambda device: torch.device("cpu"))
    monkeypatch.setattr(
        checkpoint.Snapshot, "_copied", lambda self, value, path: torch.ones(value.shape, dtype=value.dtype)
    )
    with Ones(), Tally(DEVICE):  # which remembers what operations made of meta tensors: much quicker
        yield
