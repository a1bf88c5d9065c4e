"""Activation checkpointing of whole modules: keep a module's inputs, compute its inside again when it is needed.

diffusers' own switch leaves the temporal half of SVD's transformers out; here every residual block and every
spatio-temporal transformer is one unit.
"""

from contextlib import nullcontext
from typing import Any

from torch import nn
from torch.utils.checkpoint import checkpoint

from sfv.families.svd.blocks import SpatioTemporalResBlock, SpatioTemporalTransformer
from sfv.families.svd.lora import adapted, adapters
from sfv.system.autocast import as_now


class Recomputed:
    """Stands in for a module's forward. What runs again runs with the adapters as they were."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self.plain = module.forward

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        layers, again = adapted(self.module), as_now()
        options: dict[str, Any] = {"use_reentrant": False, "context_fn": lambda: (nullcontext(), again)}
        if not layers:
            return checkpoint(self.plain, *args, **options, **kwargs)
        on = layers[0].adapted

        def same(*a: Any, **k: Any) -> Any:
            with adapters(self.module, on):
                return self.plain(*a, **k)

        return checkpoint(same, *args, **options, **kwargs)


def units(network: nn.Module) -> list[nn.Module]:
    """Residual blocks and transformers of a spatio-temporal UNet."""
    return [m for m in network.modules() if isinstance(m, SpatioTemporalResBlock | SpatioTemporalTransformer)]


def recompute(network: nn.Module) -> int:
    """Checkpoint every unit, in place; returns their number."""
    found = units(network)
    for module in found:
        if not isinstance(module.forward, Recomputed):
            module.forward = Recomputed(module)  # type: ignore[method-assign]
    return len(found)
