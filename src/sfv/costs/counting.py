"""Counting without computing: networks on PyTorch's meta device have shapes, arithmetic and live tensors, no numbers.

Imports torch alone.
"""

import weakref
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry


class Flash(TorchFunctionMode):
    """Attention as flash kernels do it: they keep inputs, output and one number per row, never the matrix.

    Without it the meta device takes the way of plain matrix products: the same arithmetic, and up to gigabytes more.
    """

    def __torch_function__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        """Attention without a mask; everything else as it is."""
        named = kwargs or {}
        if func is F.scaled_dot_product_attention and named.get("attn_mask") is None:
            query, key, value = (*args[:3], *(named[k] for k in ("query", "key", "value") if k in named))
            if query.is_meta:
                return torch.ops.aten._scaled_dot_product_flash_attention(query, key, value)[0]
        return func(*args, **named)


class Tally(TorchDispatchMode):
    """Inside the block: floating-point operations, and bytes of tensors that were made there and are alive.

    `flops` counts two for each multiply-add of matrix products, convolutions and attention; `peak` is the most bytes
    at once.
    """

    def __init__(self) -> None:
        super().__init__()
        self.flops = self.now = self.peak = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Runs the operation and notes what it made."""
        named = kwargs or {}
        given = {t.untyped_storage()._cdata for t in tree_leaves((args, named)) if isinstance(t, Tensor)}
        result = func(*args, **named)
        if func._overloadpacket in flop_registry:
            self.flops += flop_registry[func._overloadpacket](*args, **named, out_val=result)
        for t in tree_leaves(result):
            if isinstance(t, Tensor) and t.untyped_storage()._cdata not in given:
                self._note(t.untyped_storage())
        return result

    def _note(self, storage: torch.UntypedStorage) -> None:
        self.now += storage.nbytes()
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._forget, storage.nbytes())

    def _forget(self, size: int) -> None:
        self.now -= size


def count(run: Callable[[], object]) -> tuple[int, int]:
    """Floating-point operations of a call on meta tensors, and the most bytes at once; no gradients.

    Bytes are of what the call makes, its output included; weights and inputs are not counted.
    """
    with torch.no_grad(), Tally() as tally, Flash():
        kept = run()
    del kept
    return tally.flops, tally.peak
