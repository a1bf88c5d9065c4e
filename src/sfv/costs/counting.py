"""Counting without computing: networks on PyTorch's meta device have shapes, arithmetic and live tensors, no numbers.

Knows no model.
"""

import weakref
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_leaves, tree_map
from torch.utils.flop_counter import flop_registry

from sfv.system.autocast import Lasting


class Flash(Lasting):
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
    at once, of tensors on `device` where it is given.
    """

    def __init__(self, device: torch.device | None = None) -> None:
        super().__init__()
        self.device = device
        self.flops = self.now = self.peak = 0
        self._known: dict[Hashable, tuple[Any, int]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Runs the operation and notes what it made."""
        named = kwargs or {}
        given = {t.untyped_storage()._cdata for t in tree_leaves((args, named)) if isinstance(t, Tensor)}
        result, flops = self._run(func, args, named)
        self.flops += flops
        for t in tree_leaves(result):
            here = isinstance(t, Tensor) and self.device in (None, t.device)
            if here and t.untyped_storage()._cdata not in given:
                self._note(t.untyped_storage())
        return result

    def _run(self, func: Any, args: Any, kwargs: Any) -> tuple[Any, int]:
        """The result and its operations. What was asked of meta tensors of these shapes before is remembered."""
        key = _question(func, args, kwargs)
        if key in self._known:
            made, flops = self._known[key]
            return tree_map(lambda m: m() if isinstance(m, _Made) else m, made), flops
        result, flops = func(*args, **kwargs), 0
        if func._overloadpacket in flop_registry:
            flops = flop_registry[func._overloadpacket](*args, **kwargs, out_val=result)
        if key is not None and all(t.is_meta for t in tree_leaves(result) if isinstance(t, Tensor)):
            self._known[key] = tree_map(lambda t: _Made.like(t) if isinstance(t, Tensor) else t, result), flops
        return result, flops

    def _note(self, storage: torch.UntypedStorage) -> None:
        self.now += storage.nbytes()
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._forget, storage.nbytes())

    def _forget(self, size: int) -> None:
        self.now -= size


@dataclass(frozen=True)
class _Made:
    """What a new tensor of the meta device looks like."""

    shape: tuple[int, ...]
    strides: tuple[int, ...]
    dtype: torch.dtype

    @classmethod
    def like(cls, t: Tensor) -> "_Made":
        return cls(tuple(t.shape), t.stride(), t.dtype)

    def __call__(self) -> Tensor:
        return torch.empty_strided(self.shape, self.strides, dtype=self.dtype, device="meta")


def _question(func: Any, args: Any, kwargs: Any) -> Hashable:
    """What an operation on meta tensors is asked; None where it is not new tensors alone, or not of them."""
    schema = func._schema
    if any(a.alias_info for a in (*schema.arguments, *schema.returns)):
        return None
    leaves, spec = tree_flatten((args, kwargs))
    tensors = [t for t in leaves if isinstance(t, Tensor)]
    if not tensors or not all(t.is_meta for t in tensors):
        return None
    asked = tuple(_Made.like(v) if isinstance(v, Tensor) else (type(v), str(v)) for v in leaves)
    return func, str(spec), asked


class Numbers(TorchFunctionMode):
    """Inside the block a tensor of the meta device that is asked for its numbers says 1: code that logs runs there."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """1, a list of ones, or true."""
        if func in ASKED and args[0].is_meta:
            return ASKED[func](args[0])
        return func(*args, **(kwargs or {}))


ASKED: dict[Any, Callable[[Tensor], Any]] = {
    Tensor.item: lambda t: 1.0,
    Tensor.__float__: lambda t: 1.0,
    Tensor.__int__: lambda t: 1,
    Tensor.__bool__: lambda t: True,
    Tensor.tolist: lambda t: torch.ones(t.shape).tolist(),
}


def count(run: Callable[[], object]) -> tuple[int, int]:
    """Floating-point operations of a call on meta tensors, and the most bytes at once; no gradients.

    Bytes are of what the call makes, its output included; weights and inputs are not counted.
    """
    with torch.no_grad(), Tally() as tally, Flash():
        kept = run()
    del kept
    return tally.flops, tally.peak
