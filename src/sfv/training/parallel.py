"""One process, or many under torchrun: who I am, sharing gradients, gathering shards. Plain torch.distributed.

ddp: every rank holds everything, gradients are averaged. fsdp: the network's blocks are sharded by FSDP2
(`fully_shard`), which averages their gradients itself; what lies outside the blocks is held by all.
"""

import math
import os
import secrets
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.optim import Optimizer

from sfv.errors import SfvError

Mode = Literal["ddp", "fsdp"]
BUCKET = 25_000_000
"""Numbers averaged in one message."""


@dataclass(frozen=True)
class World:
    """This process among `size`."""

    rank: int = 0
    size: int = 1
    mode: Mode = "ddp"

    @property
    def shards(self) -> bool:
        """Whether networks are divided among ranks."""
        return self.mode == "fsdp" and self.size > 1

    @property
    def main(self) -> bool:
        """Whether this rank writes files and bars."""
        return self.rank == 0

    def wait(self) -> None:
        """Until all ranks are here."""
        if self.size > 1:
            dist.barrier()


ALONE = World()


def join(mode: Mode = "ddp") -> World:
    """Join the group that torchrun describes in the environment; alone without it."""
    if "WORLD_SIZE" not in os.environ:
        return World(mode=mode)
    if not dist.is_initialized():
        try:
            dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo")
        except (RuntimeError, ValueError) as error:
            raise SfvError(f"the process group cannot be joined ({error}); start with torchrun") from error
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", 0)))
    return World(dist.get_rank(), dist.get_world_size(), mode)


@runtime_checkable
class Divisible(Protocol):
    """A network of blocks."""

    def blocks(self) -> list[nn.Module]: ...

    def to(self, device: torch.device) -> Any: ...


def place(network: Divisible, world: World, device: torch.device) -> None:
    """Move a network to `device`, in place; under fsdp shard each of its blocks over all ranks.

    A sharded network comes from the CPU block by block, so that no card ever holds it whole.
    """
    if world.shards:
        mesh = init_device_mesh(device.type, (world.size,))
        for block in network.blocks():
            if not isinstance(block, FSDPModule):  # by a stage before
                fully_shard(block, mesh=mesh, reshard_after_forward=True)
    network.to(device)


def share_gradients(networks: Iterable[nn.Module], now: bool) -> None:
    """Whether the next backward pass shares the gradients of sharded blocks among ranks, or only adds them up."""
    for module in (m for network in networks for m in network.modules()):
        if isinstance(module, FSDPModule):
            module.set_requires_gradient_sync(now, recurse=False)


def average_gradients(params: Iterable[nn.Parameter], world: World) -> None:
    """Mean over ranks of the gradients of parameters that all ranks hold; shards have theirs already."""
    if world.size == 1:
        return
    grads = [p.grad for p in params if p.grad is not None and not isinstance(p.grad, DTensor)]
    for some in _buckets(grads):
        flat = torch.cat([g.flatten() for g in some])
        dist.all_reduce(flat)
        flat /= world.size
        for g, part in zip(some, flat.split([g.numel() for g in some]), strict=True):
            g.copy_(part.view_as(g))


def _buckets(grads: list[Tensor]) -> Iterable[list[Tensor]]:
    some: list[Tensor] = []
    for g in grads:
        if some and (sum(s.numel() for s in some) + g.numel() > BUCKET or g.dtype != some[0].dtype):
            yield some
            some = []
        some.append(g)
    if some:
        yield some


def clip_gradients(params: Iterable[nn.Parameter], most: float) -> float:
    """Scale gradients down to a total norm of `most`; returns the norm before. Shards count in full."""
    grads = [p.grad for p in params if p.grad is not None]
    if not grads:
        return 0.0
    squares = [full(g.detach().float().square().sum()) for g in grads]
    norm = float(torch.stack(squares).sum().sqrt())
    if most < norm < math.inf:
        for g in grads:
            g.mul_(most / norm)
    return norm


def full(value: Tensor) -> Tensor:
    """A sharded tensor in whole, on every rank (all must call); others as they are."""
    return value.full_tensor() if isinstance(value, DTensor) else value


def like(value: Tensor, target: Tensor) -> Tensor:
    """`value` in whole -> a copy, sharded as `target` is."""
    if not isinstance(target, DTensor):
        return value.to(target.device, copy=True)
    return distribute_tensor(value.to(target.device), target.device_mesh, target.placements)


@torch.no_grad()
def load_full(here: dict[str, Tensor], state: dict[str, Tensor]) -> None:
    """Copy whole tensors into those of the same names, which may be sharded; strict."""
    if here.keys() != state.keys():
        odd = sorted(here.keys() ^ state.keys())[0]
        raise RuntimeError(f"{odd} is on one side only")
    for name, target in here.items():
        if target.shape != state[name].shape:
            raise RuntimeError(f"{name} is {tuple(state[name].shape)}, expected {tuple(target.shape)}")
        target.copy_(like(state[name], target) if isinstance(target, DTensor) else state[name])


def same_folder(folder: Path, world: World, patience: float = 10.0) -> None:
    """SfvError on every rank if they do not all see one `folder`: ranks read checkpoints that the main one writes.

    `patience`: seconds that a file may take to be seen on another machine.
    """
    if world.size == 1:
        return
    name = [f".sfv-{secrets.token_hex(8)}" if world.main else ""]
    dist.broadcast_object_list(name)
    mark = folder / name[0]
    if world.main:
        mark.write_text("")
    world.wait()
    until = time.monotonic() + patience
    while not (seen := mark.exists()) and time.monotonic() < until:
        time.sleep(0.1)
    if any_rank([not seen], world)[0]:
        where = "" if seen else f" (not by rank {world.rank})"
        mark.unlink(missing_ok=True)
        raise SfvError(f"{folder} is not seen by all ranks{where}; give a run folder that all machines share")
    if world.main:
        mark.unlink()
    world.wait()


def mean_over_ranks(logs: dict[str, float], world: World) -> dict[str, float]:
    """Mean of every figure over ranks."""
    if world.size == 1:
        return logs
    values = torch.tensor(list(logs.values()), dtype=torch.float64)
    dist.all_reduce(values)
    return dict(zip(logs, (values / world.size).tolist(), strict=True))


def any_rank(flags: list[bool], world: World) -> list[bool]:
    """Whether each flag is up on any rank: ranks stop and save together."""
    if world.size == 1:
        return flags
    values = torch.tensor([float(f) for f in flags])
    dist.all_reduce(values, op=dist.ReduceOp.MAX)
    return [v > 0 for v in values.tolist()]


def split_groups(params: Iterable[nn.Parameter]) -> list[dict[str, Any]]:
    """Parameter groups for an optimiser: shards apart from whole tensors, which torch does not mix in one kernel."""
    everything = list(params)
    parts = [[p for p in everything if isinstance(p, DTensor) == sharded] for sharded in (False, True)]
    return [{"params": part} for part in parts if part]


def update(params: list[nn.Parameter], optimizer: Optimizer, world: World, most: float) -> float:
    """Share gradients among ranks, clip, step; returns their norm. A step that is not finite is skipped."""
    average_gradients(params, world)
    norm = clip_gradients(params, most)
    if math.isfinite(norm):
        optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return norm


def mean_of(logs: list[dict[str, float]]) -> dict[str, float]:
    """Of the parts of an accumulated step."""
    return {k: sum(v[k] for v in logs) / len(logs) for k in logs[0]}
