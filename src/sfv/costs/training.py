"""What a run needs before it is started: parameters, memory and arithmetic, counted without weights.

The training's own code runs on PyTorch's meta device, one whole step of it: networks, both losses, gradients with what
is recomputed, optimisers. Every tensor that is alive is counted, as a GPU would hold it (bfloat16 where autocast
computes in it, attention by flash kernels), and so is every matrix product, convolution and attention. What it leaves
out: the allocator's rounding and kernels' workspace; a few per cent.
"""

import statistics
import time
from collections.abc import Iterable
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Adam, Optimizer
from torch.utils._pytree import tree_leaves

from sfv.costs.counting import Flash, Numbers, Tally
from sfv.edm.denoiser import Denoiser
from sfv.edm.noise import NoiseRange
from sfv.families.counted import Shapes
from sfv.system.device import computes_bf16
from sfv.training.batches import ClipSampler
from sfv.training.config import StudentTraining, TeacherTraining
from sfv.training.objectives.adversarial import StudentTask
from sfv.training.objectives.denoising import TeacherTask
from sfv.training.seeds import Rngs, Seeds
from sfv.types import Cond, Latents

GB = 1e9
EFFICIENCY = 0.25
"""Of a large matrix product's rate that whole training steps reach; measured at 0.2 to 0.3 on two CPU cores."""
META = torch.device("meta")
NOISE = NoiseRange(0.002, 700.0)


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

    @property
    def peak(self) -> int:
        """Bytes at the worst moment; saving needs no more, since states are copied to the host tensor by tensor."""
        return self.weights + self.codec + self.optimizer + self.average + self.gathered + self.step

    @property
    def state(self) -> int:
        """Bytes of a checkpoint."""
        return 4 * self.trained + self.optimizer + self.average

    def __str__(self) -> str:
        rows = [(k, v) for k, v in asdict(self).items() if k not in ("parameters", "trained", "flops")]
        lines = [f"{self.parameters / 1e6:,.0f}M parameters, {self.trained / 1e6:,.1f}M trained"]
        lines += [f"{k:14s} {v / GB:6.2f} GB" for k, v in rows if v]
        return "\n".join([*lines, f"{'peak':14s} {self.peak / GB:6.2f} GB", f"{self.flops / 1e12:.1f} TFLOP a step"])


class Shaped(ClipSampler):
    """Clips of the right shapes without numbers."""

    device = META  # type: ignore[assignment]

    def __init__(self, shapes: Shapes, frames: int | None) -> None:
        self.clip, self.codec = shapes.latents(1, frames).shape[1:], shapes.codec()
        self.given = {k: v.shape[1:] for k, v in shapes.cond(1).items()}

    def draw(self, rngs: Rngs, drop: float = 0.0, louder: Tensor | None = None) -> tuple[Latents, Cond]:
        """(b, f, c, h, w) and its cond."""
        b = len(rngs)
        cond = {k: torch.empty(b, *s, device=META) for k, s in self.given.items()}
        return torch.empty(b, *self.clip, device=META), cond


def account(shapes: Shapes, config: StudentTraining | TeacherTraining, ranks: int = 1, flash: bool = True) -> Account:
    """Count one update of `config` on one rank, for the networks that `shapes` describes.

    With several `ranks` every block's weights, and what belongs to them, are divided among them (fsdp). Without
    `flash` attention keeps its matrix, as on CPUs.
    """
    with Numbers(), Flash() if flash else nullcontext():
        teacher = shapes.denoiser()
        batches = Shaped(shapes, getattr(config, "frames", None))
        task = _task(teacher, batches, config.model_copy(update={"sample_every": 0, "accumulate": 1}))
        learning = [p for some in _params(task) for p in some]
        _begin(task, learning)
        if config.accumulate > 1:
            _give_gradients(learning)  # of the batches before
        with Tally(META) as tally:
            task.step(config.steps, Seeds(0, 0))
    networks = {id(n): n for n in (*task.modules.values(), teacher)}.values()
    divided = {id(p) for n in networks if isinstance(n, Denoiser) for b in n.blocks() for p in b.parameters()}
    share = 1 / ranks
    held = [p for n in networks for p in n.parameters()]
    states = {k: v for o in task.optimizers.values() for k, v in o.state.items()}
    before = _bytes(learning) if config.accumulate > 1 else 0
    step = max(before + tally.peak, _bytes(learning) + _foreach(task.optimizers.values()))
    gradients = sum(p.nbytes for p in learning if id(p) in divided)
    cut = [p for p in held if id(p) in divided]
    return Account(
        parameters=sum(p.numel() for p in held),
        trained=sum(p.numel() for p in learning),
        weights=_divided(held, divided, share),
        codec=sum(p.nbytes for p in batches.codec.parameters()),
        optimizer=int(sum(_bytes(tree_leaves(s)) * (share if id(p) in divided else 1) for p, s in states.items())),
        average=0 if config.average == "host" else _divided(_averaged(task), divided, share),
        gathered=_gathered(networks) if ranks > 1 and cut else 0,
        step=int(step - (1 - share) * gradients),
        flops=config.accumulate * tally.flops,
    )


def _task(
    teacher: Denoiser, batches: ClipSampler, config: StudentTraining | TeacherTraining
) -> StudentTask | TeacherTask:
    if isinstance(config, StudentTraining):
        return StudentTask(teacher, batches, config, NOISE)
    return TeacherTask(teacher.requires_grad_(True), batches, config, NOISE[:2])


def _begin(task: StudentTask | TeacherTask, learning: list[nn.Parameter]) -> None:
    """Optimisers make their states."""
    _give_gradients(learning)
    for optimizer in task.optimizers.values():
        optimizer.step()
        optimizer.zero_grad()


def _give_gradients(learning: Iterable[nn.Parameter]) -> None:
    for p in learning:
        p.grad = torch.zeros_like(p)


def _params(task: StudentTask | TeacherTask) -> Iterable[list[nn.Parameter]]:
    return task.params.values() if isinstance(task, StudentTask) else [task.params]


def _averaged(task: StudentTask | TeacherTask) -> list[nn.Parameter]:
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


def needs(shapes: Shapes, config: StudentTraining | TeacherTraining, rate: float) -> dict[str, float]:
    """For people who plan: millions of weights, GB at the peak, TFLOP of an update, and hours at `rate` FLOP/s."""
    counted = account(shapes, config)
    seconds = counted.flops / (EFFICIENCY * rate)
    return {
        "parameters_million": round(counted.parameters / 1e6, 1),
        "trained_million": round(counted.trained / 1e6, 1),
        "peak_gb": round(counted.peak / GB, 2),
        "tflop_per_update": round(counted.flops / 1e12, 3),
        "seconds_per_update": round(seconds, 3),
        "hours": round(seconds * config.steps / 3600, 2),
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
