"""How a network runs on an NVIDIA GPU: attention by cuDNN first, its blocks compiled, the whole as one CUDA graph."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import is_in_torch_dispatch_mode
from torch.utils._pytree import tree_flatten, tree_map_only, tree_unflatten

from sfv.families.framewise import AT_MOST

ORDER = [
    SDPBackend.CUDNN_ATTENTION,
    SDPBackend.FLASH_ATTENTION,
    SDPBackend.EFFICIENT_ATTENTION,
    SDPBackend.MATH,
]
"""Of attention's implementations, quickest first on Hopper."""
KINDS = 64
"""Sizes of one block that are compiled before torch gives up (its own limit is 8)."""
WARM = 3
"""Calls before a graph is recorded: the first ones compile and choose algorithms."""


class OnGPU(nn.Module):
    """A network called as before; compiled and recorded at its first call for each shape of input."""

    def __init__(self, network: nn.Module, compiled: bool, graphs: bool) -> None:
        super().__init__()
        self.network, self.compiled, self.graphs = network, compiled, graphs
        self.ready = False
        self.recordings: dict[Any, Recording] = {}

    def forward(self, *given: Any, **named: Any) -> Any:
        """As the network's."""
        if self.compiled and not self.ready:
            compile_regions(self.network)
            self.ready = True
        with preferring(ORDER), many_sizes(self.compiled):
            # what counts operations has to see them, and a graph does not ask for gradients
            if not self.graphs or is_in_torch_dispatch_mode() or torch.is_grad_enabled():
                return self.network(*given, **named)
            return self._replayed(given, named)

    def _replayed(self, given: Any, named: Any) -> Any:
        flat, spec = tree_flatten((given, named))
        key = (spec, AT_MOST.get(), *((v.shape, v.dtype, v.stride()) if isinstance(v, Tensor) else v for v in flat))
        if key not in self.recordings:
            self.recordings[key] = Recording(self.network, flat, spec)
        return self.recordings[key](flat)


class Recording:
    """One CUDA graph of a network, with memory of its own for what goes in."""

    def __init__(self, network: nn.Module, flat: list[Any], spec: Any) -> None:
        with torch.inference_mode(False), torch.no_grad():  # inputs that later calls may write to
            self.held = [torch.empty_like(v) if isinstance(v, Tensor) else v for v in flat]
        self._take(flat)
        given, named = tree_unflatten(self.held, spec)
        here, aside = torch.cuda.current_stream(), torch.cuda.Stream()
        aside.wait_stream(here)
        with torch.cuda.stream(aside):
            for _ in range(WARM):
                network(*given, **named)
        here.wait_stream(aside)
        torch.cuda.empty_cache()  # the graph keeps memory of its own
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            self.out = network(*given, **named)

    def __call__(self, flat: list[Any]) -> Any:
        """What the network answers; a copy, since the next call writes to the same memory."""
        self._take(flat)
        self.graph.replay()
        return tree_map_only(Tensor, Tensor.clone, self.out)

    def _take(self, flat: list[Any]) -> None:
        for target, value in zip(self.held, flat, strict=True):
            if isinstance(target, Tensor):
                target.copy_(value)


def compile_regions(network: nn.Module, **options: Any) -> int:
    """torch.compile for the methods that a block's class lists as `regions`, in place; returns the number of blocks.

    Blocks of one size share what is compiled, so this takes a fraction of the time that whole networks take.
    """
    found: list[Any] = [m for m in network.modules() if getattr(type(m), "regions", ())]
    for module in found:
        for name in module.regions:
            setattr(module, name, torch.compile(getattr(module, name), dynamic=False, **options))
    return len(found)


@contextmanager
def preferring(order: list[SDPBackend]) -> Iterator[None]:
    """Attention by the first of these that can, inside the block."""
    with sdpa_kernel(order, set_priority=True):
        yield


@contextmanager
def many_sizes(wanted: bool) -> Iterator[None]:
    """torch.compile may meet `KINDS` sizes of a block, inside the block."""
    if not wanted:
        yield
        return
    import torch._dynamo

    with torch._dynamo.config.patch(recompile_limit=KINDS):  # type: ignore[attr-defined]
        yield
