"""Autocast to bfloat16 for the meta device, as CUDA does it: so that memory can be counted without a GPU.

PyTorch has none for tensors without numbers. What is cast is in its documentation (Automatic Mixed Precision, "CUDA
Op-Specific Behavior"); of a weight that learns the copy in bfloat16 is kept until the block ends.
"""

from contextlib import AbstractContextManager, ExitStack, nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map

LOWER = {
    F.linear,
    F.conv1d,
    F.conv2d,
    F.conv3d,
    F.scaled_dot_product_attention,
    torch.matmul,
    torch.bmm,
    torch.addmm,
    torch.baddbmm,
    Tensor.matmul,
    Tensor.__matmul__,
    Tensor.__rmatmul__,
}
"""Computed in bfloat16."""
FULL = {
    F.group_norm,
    F.layer_norm,
    F.rms_norm,
    F.softmax,
    F.log_softmax,
    F.softplus,
    F.mse_loss,
    F.l1_loss,
    torch.softmax,
    torch.norm,
    torch.exp,
    torch.pow,
    torch.cdist,
    Tensor.softmax,
    Tensor.norm,
    Tensor.exp,
    Tensor.pow,
    Tensor.prod,
    Tensor.cumsum,
}
"""Computed in float32."""
_active: list["Lasting"] = []


class Lasting(TorchFunctionMode):
    """A mode that also holds for what is computed again in the backward pass, where PyTorch drops modes (`as_now`)."""

    def __enter__(self) -> Any:
        _active.append(self)
        return super().__enter__()

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        _active.pop()


class MetaAutocast(Lasting):
    """Inside the block, on tensors of the meta device."""

    def __init__(self) -> None:
        super().__init__()
        self._copies: dict[int, Tensor] = {}

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        self._copies.clear()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Products in bfloat16, norms and the like in float32, the rest as it is."""
        kwargs = kwargs or {}
        if func in LOWER:
            args, kwargs = tree_map(self._lower, (args, kwargs))
        elif func in FULL:
            args, kwargs = tree_map(_full, (args, kwargs))
        return func(*args, **kwargs)

    def _lower(self, value: Any) -> Any:
        if not isinstance(value, Tensor) or not value.is_meta or value.dtype != torch.float32:
            return value
        if not (isinstance(value, nn.Parameter) and value.requires_grad and torch.is_grad_enabled()):
            return value.to(torch.bfloat16)
        if id(value) not in self._copies:
            self._copies[id(value)] = value.to(torch.bfloat16)
        return self._copies[id(value)]


def _full(value: Any) -> Any:
    if isinstance(value, Tensor) and value.is_meta and value.dtype in (torch.bfloat16, torch.float16):
        return value.float()
    return value


def as_now() -> AbstractContextManager[Any]:
    """A block under the lasting modes that are on now, to be entered later."""
    return _Again(tuple(_active)) if _active else nullcontext()


class _Again:
    def __init__(self, modes: tuple[Lasting, ...]) -> None:
        self.modes, self.entered = modes, ExitStack()

    def __enter__(self) -> None:
        for mode in self.modes:
            self.entered.enter_context(mode)

    def __exit__(self, *error: Any) -> None:
        self.entered.close()
