"""Exact training state as one safetensors file, written beside and renamed."""

import json
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from sfv.errors import SfvError
from sfv.media import replacing

STATE = "state.safetensors"


@runtime_checkable
class Stateful(Protocol):
    """Anything with PyTorch's state_dict pair."""

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any], /) -> Any: ...


def save(run_dir: Path, step: int, parts: dict[str, Stateful]) -> None:
    """Write every part's state and the step; a kill leaves the previous file whole."""
    tensors: dict[str, Tensor] = {}
    plain: dict[str, Any] = {}
    for name, part in parts.items():
        _flatten(part.state_dict(), name, tensors, plain)
    with replacing(run_dir / STATE) as path:
        save_file(tensors, path, {"step": str(step), "plain": json.dumps(plain)})


def load_latest(run_dir: Path, parts: dict[str, Stateful]) -> int:
    """Restore `parts` from the run folder and return the step; 0 if there is nothing to resume."""
    path = run_dir / STATE
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
        try:
            part.load_state_dict(state[name])
        except (KeyError, RuntimeError, ValueError) as error:
            raise SfvError(f"{path} does not fit this run ({name}: {error}); use another run folder") from error
    return int(meta["step"])


def _flatten(value: Any, path: str, tensors: dict[str, Tensor], plain: dict[str, Any]) -> None:
    """Nested dicts and lists -> leaves by path; "#" marks integer keys, "[]" lists."""
    if isinstance(value, Tensor):
        tensors[path] = value.detach().contiguous().clone()
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


def cpu_generator(*key: int) -> torch.Generator:
    """A CPU generator that depends on every number of `key` (seed, rank, step), so resume is exact."""
    seed = 0
    for part in key:
        seed = (seed * 6364136223846793005 + part + 1442695040888963407) % 2**63
    return torch.Generator().manual_seed(seed)
