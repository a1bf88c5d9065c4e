"""What a run needs before it is started: parameters, memory and arithmetic, counted without weights.

The training's own code runs on PyTorch's meta device, one whole step of it: networks, both losses, gradients with what
is recomputed, optimisers. Every tensor that is alive is counted, as a GPU would hold it (bfloat16 where autocast
computes in it, attention by flash kernels), and so is every matrix product, convolution and attention. What it leaves
out: the allocator's rounding and kernels' workspace; a few per cent.
"""

import statistics
import time
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any, TypeGuard

import torch
from torch import Tensor, nn
from torch.optim import Adam, Optimizer
from torch.utils._pytree import tree_leaves

from sfv.costs.counting import Flash, Numbers, Tally
from sfv.costs.eight_bits import EightBitStates
from sfv.edm.denoiser import Denoiser
from sfv.edm.noise import NoiseRange
from sfv.edm.sampling import karras_sigmas
from sfv.families.counted import Shapes
from sfv.system.device import bf16_autocast, computes_bf16
from sfv.training.batches import ClipSampler
from sfv.training.checkpoint import Snapshot
from sfv.training.config import PairTraining, Schedule, StudentTraining, TeacherTraining
from sfv.training.loop import saved
from sfv.training.objectives.adversarial import StudentTask
from sfv.training.objectives.denoising import TeacherTask
from sfv.training.objectives.endpoints import Endpoints
from sfv.training.objectives.learner import Learner, halves
from sfv.training.objectives.pairs import PairTask
from sfv.training.parallel import ALONE
from sfv.training.seeds import Rngs, Seeds
from sfv.types import Cond, Latents

Counted = StudentTraining | TeacherTraining | PairTraining
"""Configurations whose steps can be counted."""
Counting = StudentTask | TeacherTask | PairTask
GB = 1e9
EFFICIENCY = 0.25
"""Of a large matrix product's rate that whole training steps reach; measured at 0.2 to 0.3 on two CPU cores."""
META = torch.device("meta")
NOISE = NoiseRange(0.002, 700.0)
CALLS = 2
"""Steps in which an endpoint is counted: more hold no more, and cost in proportion."""


@dataclass(frozen=True)
class Account:
    """Bytes by purpose on one card, and the arithmetic of one update of one rank."""

    parameters: int
    """Their number, heads included."""
    trained: int
    """Of these, how many learn."""
    weights: int
    codec: int
    """It encodes the noised pictures of conditions."""
    optimizer: int
    average: int
    gathered: int
    """fsdp: blocks that are whole for a moment, and the gradients of one."""
    step: int
    """The most that a step holds beside these: gradients, activations, copies, what is recomputed."""
    flops: int
    state: int
    """Bytes of a checkpoint: whole, on however many cards and wherever the average lies."""
    host: int
    """Bytes in the host's memory of the rank that saves: the copy of a checkpoint, which is kept from save to save, the
    average (average=host), and the weights that wait for the run's end."""

    @property
    def peak(self) -> int:
        """Bytes at the worst moment; saving needs no more, since states are copied to the host tensor by tensor."""
        return self.weights + self.codec + self.optimizer + self.average + self.gathered + self.step

    def __str__(self) -> str:
        beside = "parameters", "trained", "flops", "state", "host"
        rows = [(k, v) for k, v in asdict(self).items() if k not in beside and v]
        rows += [("peak", self.peak), ("checkpoint", self.state), ("host", self.host)]
        lines = [f"{self.parameters / 1e6:,.0f}M parameters, {self.trained / 1e6:,.1f}M trained"]
        lines += [f"{k:14s} {v / GB:6.2f} GB" for k, v in rows]
        return "\n".join([*lines, f"{self.flops / 1e12:.1f} TFLOP a step"])


class Unguided:
    """Of a conditioner what a guided call asks for."""

    def unconditional(self, cond: Cond) -> Cond:
        """Of the same shapes."""
        return {k: torch.zeros_like(v) for k, v in cond.items()}

    def guidance_over_frames(self, guidance: float, frames: int) -> Tensor:
        """(frames,)."""
        return torch.full((frames,), guidance, device=META)


class Shaped(ClipSampler):
    """Clips of the right shapes without numbers."""

    device = META  # type: ignore[assignment]

    def __init__(self, shapes: Shapes, frames: int | None) -> None:
        self.clip, self.codec = shapes.latents(1, frames).shape[1:], shapes.codec()
        self.given = {k: v.shape[1:] for k, v in shapes.cond(1).items()}
        self.conditioner = Unguided()  # type: ignore[assignment]

    def draw(self, rngs: Rngs, drop: float = 0.0, louder: Tensor | None = None) -> tuple[Latents, Cond]:
        """(b, f, c, h, w) and its cond."""
        b = len(rngs)
        cond = {k: torch.empty(b, *s, device=META) for k, s in self.given.items()}
        return torch.empty(b, *self.clip, device=META), cond


class Ends(Endpoints):
    """Endpoints of the right shapes: nothing is kept, and `make` makes those of one batch in CALLS steps."""

    def __init__(self, teacher: Denoiser, batches: ClipSampler, guidance: float) -> None:
        self.teacher, self.batches, self.guidance = teacher, batches, guidance
        self.sigmas = karras_sigmas(CALLS, *NOISE)

    def draw(self, rngs: Rngs) -> tuple[Latents, Latents, Cond, Latents]:
        """As if they had been made before."""
        x0, n, cond = self._start(list(range(len(rngs))))
        return x0, n, cond, torch.empty_like(n)

    def make(self, clips: int, half: bool) -> None:
        """As the first draw of a batch does."""
        with bf16_autocast(META, half):
            _, n, cond = self._start(list(range(clips)))
            self._end(n, cond)


def account(shapes: Shapes, config: Counted, ranks: int = 1, flash: bool = True, begun: bool = False) -> Account:
    """Count one update of `config` on one rank, for the networks that `shapes` describes.

    With several `ranks` every block's weights, and what belongs to them, are divided among them (fsdp). Without
    `flash` attention keeps its matrix, as on CPUs. `begun`: the student does not begin as its teacher but as a network
    of its own, as in every stage of several.
    """
    with Numbers(), Flash() if flash else nullcontext():
        teacher = shapes.denoiser()
        batches = Shaped(shapes, getattr(config, "frames", None))
        start = shapes.denoiser() if begun else None
        task = _task(teacher, batches, config.model_copy(update={"sample_every": 0, "accumulate": 1}), start)
        _count_eight_bits(task)
        learning = [p for some in _params(task) for p in some]
        _begin(task, learning)
        if config.accumulate > 1:
            _give_gradients(learning)  # of the batches before
        reached = _reached(learning)
        with Tally(META) as tally:
            task.step(config.steps, Seeds(0, 0))
        _forget_others(task, reached)
        state = _bytes(Snapshot(saved(task), True, {}).tensors.values())
        made, once = _making(task, config)
    networks = {id(n): n for n in (*task.modules.values(), teacher)}.values()
    divided = {id(p) for n in networks if isinstance(n, Denoiser) for b in n.blocks() for p in b.parameters()}
    share = 1 / ranks
    held = [p for n in networks for p in n.parameters()]
    before = _bytes(learning) if config.accumulate > 1 else 0
    step = max(before + max(tally.peak, made), _bytes(learning) + _foreach(task.optimizers.values()))
    gradients = sum(p.nbytes for p in learning if id(p) in divided)
    return Account(
        parameters=sum(p.numel() for p in held),
        trained=sum(p.numel() for p in learning),
        weights=_divided(held, divided, share),
        codec=sum(p.nbytes for p in batches.codec.parameters()),
        optimizer=_states(task, divided, share),
        average=0 if config.average == "host" else _divided(_averaged(task), divided, share),
        gathered=_gathered(networks) if ranks > 1 and divided else 0,
        step=int(step - (1 - share) * gradients),
        flops=config.accumulate * tally.flops + once // config.steps,
        state=state,
        host=state + _waiting(task, ranks, start) + (_bytes(_averaged(task)) if config.average == "host" else 0),
    )


def accounts(shapes: Shapes, stages: Sequence[Counted], ranks: int = 1) -> list[Account]:
    """Of every stage of a part: what a card must hold is the largest."""
    chain = len(stages) > 1
    begun = [not isinstance(s, TeacherTraining) and (chain or bool(s.start)) for s in stages]
    return [account(shapes, s, ranks, begun=b) for s, b in zip(stages, begun, strict=True)]


def is_counted(stage: Schedule) -> TypeGuard[Counted]:
    """Whether `account` knows such stages."""
    return isinstance(stage, StudentTraining | TeacherTraining | PairTraining)


def _task(teacher: Denoiser, batches: ClipSampler, config: Counted, start: Denoiser | None) -> Counting:
    if isinstance(config, StudentTraining):
        return StudentTask(teacher, batches, config, NOISE, ALONE, start)
    if isinstance(config, TeacherTraining):
        return TeacherTask(teacher.requires_grad_(True), batches, config, NOISE[:2])
    ends = Ends(teacher.requires_grad_(False), batches, config.guidance)
    learner = Learner(start or teacher, config.lora, halves(config.precision, META), ALONE, config.lora_convs)
    return PairTask(learner, ends, config, NOISE)


def _making(task: Counting, config: Counted) -> tuple[int, int]:
    """Of a run's endpoints: the most bytes while some are made, and operations for all of them; else nothing."""
    if not isinstance(config, PairTraining):
        return 0, 0
    assert isinstance(task, PairTask) and isinstance(task.endpoints, Ends)
    with Tally(META) as tally:
        task.endpoints.make(config.clips, config.precision == "bf16")
    drawn = min(config.pairs, config.steps * config.accumulate * config.clips)
    return tally.peak, tally.flops * config.pair_steps * drawn // (CALLS * config.clips)


def _states(task: Counting, divided: set[int], share: float) -> int:
    """Bytes of the optimisers on one card."""
    states = {k: v for o in task.optimizers.values() for k, v in o.state.items()}
    return int(sum(_bytes(tree_leaves(s)) * (share if id(p) in divided else 1) for p, s in states.items()))


def _waiting(task: Counting, ranks: int, start: Denoiser | None) -> int:
    """Bytes of weights that wait on the host for the run's end, and of the network that it began with."""
    if isinstance(task, TeacherTask):
        return _bytes(task.D.parameters()) if ranks > 1 else 0
    learner = task.learner
    if learner.lora:
        return _bytes(learner.whole.values())
    return _bytes(learner.blank.parameters()) * (1 if start is None else 2)


def _begin(task: Counting, learning: list[nn.Parameter]) -> None:
    """Optimisers make their states."""
    _give_gradients(learning)
    for optimizer in task.optimizers.values():
        optimizer.step()
        optimizer.zero_grad()


def _count_eight_bits(task: Counting) -> None:
    """bitsandbytes has no meta device: an optimiser that keeps the same stands in for its Adam."""
    for name, optimizer in task.optimizers.items():
        if type(optimizer).__module__.startswith("bitsandbytes"):
            task.optimizers[name] = EightBitStates(optimizer.param_groups, {"lr": 0.0})


def _reached(learning: list[nn.Parameter]) -> set[int]:
    """Of these what a step's gradients reach, filled while it runs: some adapters' they do not."""
    found: set[int] = set()
    for p in learning:
        p.register_post_accumulate_grad_hook(lambda p: found.add(id(p)))
    return found


def _forget_others(task: Counting, reached: set[int]) -> None:
    """Optimisers have no state of what no gradient reaches."""
    for optimizer in task.optimizers.values():
        for p in [p for p in optimizer.state if id(p) not in reached]:
            del optimizer.state[p]


def _give_gradients(learning: Iterable[nn.Parameter]) -> None:
    for p in learning:
        p.grad = torch.zeros_like(p)


def _params(task: Counting) -> Iterable[list[nn.Parameter]]:
    return task.params.values() if isinstance(task, StudentTask) else [task.params]


def _averaged(task: Counting) -> list[nn.Parameter]:
    return [p for a in task.averages.values() for n, p in a.model.named_parameters() if n in a.slow]


def _divided(params: Iterable[nn.Parameter], divided: set[int], share: float) -> int:
    return int(sum(p.nbytes * (share if id(p) in divided else 1) for p in params))


def _bytes(tensors: Iterable[Any]) -> int:
    return sum(t.nbytes for t in tensors if isinstance(t, Tensor) and t.is_meta)


def _foreach(optimizers: Iterable[Optimizer]) -> int:
    """What PyTorch's Adam holds for a moment on a GPU, where it takes all weights at once: a root of each."""
    return sum(p.nbytes for o in optimizers if isinstance(o, Adam) for g in o.param_groups for p in g["params"])


def _gathered(networks: Iterable[nn.Module]) -> int:
    """The two largest blocks in whole (the next is fetched while one computes), and the gradients of one."""
    sizes = [_bytes(b.parameters()) for n in networks if isinstance(n, Denoiser) for b in n.blocks()]
    return 3 * max(sizes)


def needs(counted: Account, steps: int, rate: float) -> dict[str, float]:
    """For people who plan: millions of weights, GB at the peak, of a checkpoint and on the host, TFLOP of an update,
    and hours of `steps` at `rate` FLOP/s."""
    seconds = counted.flops / (EFFICIENCY * rate)
    return {
        "parameters_million": round(counted.parameters / 1e6, 1),
        "trained_million": round(counted.trained / 1e6, 1),
        "peak_gb": round(counted.peak / GB, 2),
        "checkpoint_gb": round(counted.state / GB, 2),
        "host_gb": round(counted.host / GB, 2),
        "tflop_per_update": round(counted.flops / 1e12, 3),
        "seconds_per_update": round(seconds, 3),
        "hours": round(seconds * steps / 3600, 2),
    }


@cache
def matmul_rate(device: torch.device) -> float:
    """FLOP/s of a matrix product in what training computes in here, the median of five; measured once in a process."""
    side = 512 if device.type == "cpu" else 2048
    dtype = torch.bfloat16 if computes_bf16(device) else torch.float32
    a = torch.randn(side, side, device=device, dtype=dtype)
    taken = []
    for _ in range(7):
        start = time.perf_counter()
        (a @ a)[0, 0].item()
        taken.append(time.perf_counter() - start)
    return 2 * side**3 / statistics.median(taken[2:])
