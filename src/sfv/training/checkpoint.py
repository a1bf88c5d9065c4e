"""Exact training state as one safetensors file, written beside and renamed."""

import json
import os
import shutil
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim import Optimizer

from sfv.errors import SfvError
from sfv.media import replacing
from sfv.training.parallel import full, like, load_full

LATER = {"health"}
"""Parts that runs of earlier versions did not keep."""
STATE, HEALTHY, BEST = "state.safetensors", "healthy.safetensors", "best.safetensors"


@runtime_checkable
class Stateful(Protocol):
    """Anything with PyTorch's state_dict pair."""

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any], /) -> Any: ...


class Learned:
    """What of a module a run changes: its parameters that take gradients, in whole."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module

    def _params(self) -> dict[str, Tensor]:
        return {n: p for n, p in self.module.named_parameters() if p.requires_grad}

    def state_dict(self) -> dict[str, Any]:
        """Name -> tensor."""
        return dict(self._params())

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Inverse of `state_dict`, into shards if the module is sharded; strict."""
        load_full(self._params(), state)


class OptimizerState:
    """An optimiser's state by parameter name: whole tensors, however parameters are grouped or sharded.

    Rates and other settings are not kept: they come from the run's configuration.
    """

    def __init__(self, optimizer: Optimizer, modules: dict[str, nn.Module]) -> None:
        self.optimizer, self.modules = optimizer, modules

    def _named(self) -> dict[str, nn.Parameter]:
        mine = {id(p) for group in self.optimizer.param_groups for p in group["params"]}
        every = ((f"{k}.{n}", p) for k, m in self.modules.items() for n, p in m.named_parameters())
        return {n: p for n, p in every if id(p) in mine}

    def state_dict(self) -> dict[str, Any]:
        """Parameter name -> its state."""
        return {n: self.optimizer.state[p] for n, p in self._named().items() if p in self.optimizer.state}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Inverse of `state_dict`, whatever the number of ranks that wrote it."""
        named = self._named()
        for name, of_one in state.items():
            p = named[name]
            whole = {k: v for k, v in of_one.items() if torch.is_tensor(v) and v.shape == p.shape}
            self.optimizer.state[p] = of_one | {k: like(v, p) for k, v in whole.items()}


def save(
    run_dir: Path,
    step: int,
    parts: dict[str, Stateful],
    main: bool = True,
    healthy: bool = False,
    file: str = STATE,
) -> None:
    """Write every part's state and the step; a kill leaves the previous file whole. All ranks call, one writes.

    The last `healthy` state stays under a second name.
    """
    tensors: dict[str, Tensor] = {}
    plain: dict[str, Any] = {}
    for name, part in parts.items():
        _flatten(part.state_dict(), name, tensors, plain)
    if not main:
        return
    try:
        with replacing(run_dir / file) as path:
            save_file(tensors, path, {"step": str(step), "plain": json.dumps(plain)})
    except (OSError, SafetensorError) as error:
        raise SfvError(
            f"{run_dir / file} cannot be written ({error}); free some space and repeat the command: "
            "it goes on from the checkpoint before"
        ) from error
    if healthy:
        with replacing(run_dir / HEALTHY) as path:
            try:
                os.link(run_dir / file, path)
            except OSError:  # a file system without hard links
                shutil.copyfile(run_dir / file, path)


def load_latest(run_dir: Path, parts: dict[str, Stateful], name: str = STATE) -> int:
    """Restore `parts` from the run folder and return the step; 0 if there is nothing to resume."""
    path = run_dir / name
    if not path.exists():
        return 0
    try:
        with safe_open(path, "pt") as file:
            meta = file.metadata()
            tensors = {k: file.get_tensor(k).clone() for k in file.keys()}
    except SafetensorError as error:
        raise SfvError(f"{path} is damaged ({error}); delete it to start the run again") from error
    state = _unflatten(tensors, json.loads(meta["plain"]))
    for name, part in parts.items():
        if name not in state and name in LATER:
            continue
        try:
            part.load_state_dict(state[name])
        except (KeyError, RuntimeError, ValueError) as error:
            raise SfvError(f"{path} does not fit this run ({name}: {error}); use another run folder") from error
    return int(meta["step"])


def _flatten(value: Any, path: str, tensors: dict[str, Tensor], plain: dict[str, Any]) -> None:
    """Nested dicts and lists -> leaves by path; "#" marks integer keys, "[]" lists."""
    if isinstance(value, Tensor):
        tensors[path] = full(value.detach()).contiguous().clone()
    elif isinstance(value, dict) and value:
        for key, item in value.items():
            _flatten(item, f"{path}\t#{key}" if isinstance(key, int) else f"{path}\t{key}", tensors, plain)
    elif isinstance(value, list) and any(isinstance(v, dict) for v in value):
        for i, item in enumerate(value):
            _flatten(item, f"{path}\t[{i}", tensors, plain)
    else:
        plain[path] = value


def _unflatten(tensors: dict[str, Tensor], plain: dict[str, Any]) -> dict[str, Any]:
    root: dict[Any, Any] = {}
    for path, value in {**tensors, **plain}.items():
        *parents, leaf = [int(k[1:]) if k[0] == "#" else k for k in path.split("\t")]
        node = root
        for key in parents:
            node = node.setdefault(key, {})
        node[leaf] = value
    return {k: _relist(v) for k, v in root.items()}


def _relist(node: Any) -> Any:
    if not isinstance(node, dict):
        return node
    if node and all(isinstance(k, str) and k.startswith("[") for k in node):
        return [_relist(node[f"[{i}"]) for i in range(len(node))]
    return {k: _relist(v) for k, v in node.items()}
