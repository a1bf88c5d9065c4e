"""Exact training state as one safetensors file, written beside and renamed, while training goes on."""

import json
import os
import shutil
import time
from pathlib import Path
from threading import Thread
from typing import Any, Protocol, runtime_checkable

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from torch.optim import Optimizer

from sfv.errors import SfvError
from sfv.media import replacing
from sfv.system.stream import write_tensors
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
            self.optimizer.state[p] = {k: _placed(v, p) if torch.is_tensor(v) else v for k, v in of_one.items()}


def _placed(value: Tensor, p: nn.Parameter) -> Tensor:
    """Of a parameter's state: in memory of its own, where and divided as the parameter is; counts on the CPU."""
    if value.shape == p.shape:
        return like(value, p)
    return value.to(p.device if value.dim() else "cpu", copy=True)


def save(
    run_dir: Path,
    step: int,
    parts: dict[str, Stateful],
    main: bool = True,
    healthy: bool = False,
    file: str = STATE,
) -> None:
    """Write every part's state and the step; a kill leaves the previous file whole. All ranks call, one writes.

    The last `healthy` state stays under a second name. Memory of the host holds the state once.
    """
    state = Snapshot(parts, main, {})
    if main:
        _write(run_dir, step, state, healthy, file)


class Writer:
    """Saves a run's states beside its training, which stands still only while they are copied to the host.

    A thread writes them. An error of the thread is raised by the next call. Leaving the block waits for it.
    """

    def __init__(self, run_dir: Path, main: bool = True) -> None:
        self.run_dir, self.main = run_dir, main
        self.seconds = 0.0
        """What the last state took, to be copied and written."""
        self._thread: Thread | None = None
        self._error: SfvError | None = None
        self._host: dict[str, Tensor] = {}

    def __enter__(self) -> "Writer":
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if error is None:
            self.wait()
        elif self._thread:
            self._thread.join()

    def save(self, step: int, parts: dict[str, Stateful], healthy: bool = False) -> None:
        """As `save`; all ranks call. Waits for the state before this one to be on disk."""
        self.wait()
        began = time.monotonic()
        state = Snapshot(parts, self.main, self._host)
        if self.main:
            self._thread = Thread(target=self._run, args=(began, step, state, healthy), name="checkpoint")
            self._thread.start()

    def wait(self) -> None:
        """Until what was saved is on disk. SfvError if it could not be written."""
        if self._thread:
            self._thread.join()
        self._thread, error, self._error = None, self._error, None
        if error:
            raise error

    def _run(self, began: float, step: int, state: "Snapshot", healthy: bool) -> None:
        try:
            _write(self.run_dir, step, state, healthy, STATE)
        except SfvError as error:
            self._error = error
        self.seconds = time.monotonic() - began


class Snapshot:
    """All parts' states in the host's memory, as they are now: tensors by path, and the rest.

    Of shards one tensor at a time is whole on a card, and only the `main` rank keeps it. `host` holds page-locked
    memory that tensors of a GPU are copied to; it is filled here and may be used again.
    """

    def __init__(self, parts: dict[str, Stateful], main: bool, host: dict[str, Tensor]) -> None:
        self.main, self.host = main, host
        self.tensors: dict[str, Tensor] = {}
        self.plain: dict[str, Any] = {}
        for name, part in parts.items():
            self._flatten(part.state_dict(), name)
        if any(v.is_pinned() for v in self.tensors.values()):
            torch.cuda.synchronize()

    def _flatten(self, value: Any, path: str) -> None:
        """Nested dicts and lists -> leaves by path; "#" marks integer keys, "[]" lists."""
        if isinstance(value, Tensor):
            whole = full(value.detach())
            if self.main:
                self.tensors[path] = self._copied(whole, path)
        elif isinstance(value, dict) and value:
            for key, item in value.items():
                self._flatten(item, f"{path}\t#{key}" if isinstance(key, int) else f"{path}\t{key}")
        elif isinstance(value, list) and any(isinstance(v, dict) for v in value):
            for i, item in enumerate(value):
                self._flatten(item, f"{path}\t[{i}")
        else:
            self.plain[path] = value

    def _copied(self, value: Tensor, path: str) -> Tensor:
        if value.device.type != "cuda":
            return value.contiguous().clone()
        place = self.host.get(path)
        if place is None or place.shape != value.shape or place.dtype != value.dtype:
            place = self.host[path] = torch.empty(value.shape, dtype=value.dtype, pin_memory=True)
        return place.copy_(value, non_blocking=True)


def _write(run_dir: Path, step: int, state: Snapshot, healthy: bool, file: str) -> None:
    meta = {"step": str(step), "plain": json.dumps(state.plain)}
    try:
        with replacing(run_dir / file) as path, open(path, "wb") as opened:
            write_tensors(opened, state.tensors, None, meta)
    except OSError as error:
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
    """Restore `parts` from the run folder and return the step; 0 if there is nothing to resume.

    The file is mapped, not read: each rank takes its shards from pages that all ranks of a machine share.
    """
    path = run_dir / name
    if not path.exists():
        return 0
    try:
        with safe_open(path, "pt") as file:
            meta = file.metadata()
            tensors = {k: file.get_tensor(k) for k in file.keys()}
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
