"""Seconds on a device, and inside networks, measured by hooks."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch


def now(device: torch.device) -> float:
    """Seconds on a clock, once the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


@contextmanager
def clocked(parts: dict[str, torch.nn.Module], device: torch.device) -> Iterator[dict[str, float]]:
    """Seconds inside every module while the block runs; waits for the device on both sides of each."""
    spent, began = dict.fromkeys(parts, 0.0), dict.fromkeys(parts, 0.0)

    def start(name: str) -> Callable[..., None]:
        return lambda *_: began.update({name: now(device)})

    def stop(name: str) -> Callable[..., None]:
        return lambda *_: spent.update({name: spent[name] + now(device) - began[name]})

    hooks = [m.register_forward_pre_hook(start(k)) for k, m in parts.items()]
    hooks += [m.register_forward_hook(stop(k)) for k, m in parts.items()]
    try:
        yield spent
    finally:
        for hook in hooks:
            hook.remove()


@contextmanager
def clocked_stage(seconds: dict[str, float], stage: str, device: torch.device) -> Iterator[None]:
    """Wall time of a stage, kept in `seconds`; waits for the device on both sides."""
    start = now(device)
    yield
    seconds[stage] = now(device) - start
