"""What a run needs before it is started: parameters, memory and arithmetic, counted without weights.

The networks are built on PyTorch's meta device and one step is traced there, forward and backward: every tensor that
autograd keeps is counted, units that are recomputed count their inputs and, once, the largest inside; so is every
matrix product, convolution and attention, what is computed again included. What it leaves out: the allocator's
rounding, kernels' workspace and the codec; a few per cent.
"""

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from sfv.adversary.discriminator import Discriminator
from sfv.adversary.losses import r1
from sfv.costs.counting import Flash, Tally
from sfv.edm.denoiser import Denoiser
from sfv.families.counted import Shapes
from sfv.families.svd.checkpointing import Recomputed
from sfv.training.config import StudentTraining, TeacherTraining
from sfv.training.objectives.adversarial_losses import NoiseDraw, generator_terms, judge
from sfv.training.objectives.denoising import denoising_loss
from sfv.types import Cond, Latents

GB = 1e9
EFFICIENCY = 0.25
"""Of a large matrix product's rate that whole training steps reach; measured at 0.2 to 0.3 on two CPU cores."""

FROZEN, LEARNING = 2, 6
"""Bytes of a weight: bf16; or fp32 and the bf16 copy that autocast keeps for the step."""

PER_WEIGHT = {"adam": 8, "sm3": 4, "muon": 4}
"""Bytes of optimiser state to one fp32 weight (SM3's rows and columns are counted apart, and are small)."""


@dataclass(frozen=True)
class Account:
    """Bytes by purpose, and the arithmetic of one step of one rank."""

    parameters: int
    trained: int
    weights: int
    gradients: int
    optimizer: int
    average: int
    activations: int
    largest_unit: int
    flops: int

    @property
    def peak(self) -> int:
        """Bytes at the worst moment."""
        held = self.weights + self.gradients + self.optimizer + self.average
        return held + self.activations + self.largest_unit

    def __str__(self) -> str:
        rows = [(k, v) for k, v in asdict(self).items() if k not in ("parameters", "trained", "flops")]
        lines = [f"{self.parameters / 1e6:,.0f}M parameters, {self.trained / 1e6:,.1f}M trained"]
        lines += [f"{k.replace('_', ' '):14s} {v / GB:6.2f} GB" for k, v in rows]
        return "\n".join([*lines, f"{'peak':14s} {self.peak / GB:6.2f} GB", f"{self.flops / 1e12:.1f} TFLOP a step"])


def account(shapes: Shapes, config: StudentTraining | TeacherTraining) -> Account:
    """Count one update of `config` on one rank, for the networks that `shapes` describes."""
    counted = _student if isinstance(config, StudentTraining) else _teacher
    with torch.device("meta"):
        D = shapes.denoiser()
        x0 = shapes.latents(config.clips, getattr(config, "frames", None))
        return counted(shapes, D, x0, shapes.cond(config.clips), config)  # type: ignore[arg-type]


def _student(shapes: Shapes, teacher: Denoiser, x0: Latents, cond: Cond, config: StudentTraining) -> Account:
    G = teacher if config.lora else shapes.denoiser()
    backbone = shapes.denoiser() if config.lora and config.backbone_lora else teacher
    D = Discriminator(
        backbone,
        config.head_width,
        kinds=config.heads,
        differences=x0.shape[2] if config.differences else 0,
        rank=config.backbone_lora,
    )
    adapters = G.adapt(config.lora) if config.lora else list(G.requires_grad_(True).parameters())
    sigma = torch.empty(len(x0))
    draw = NoiseDraw(sigma, x0, sigma, x0, x0)

    def step() -> Step:
        seen = judge(G, D, x0, cond, draw)
        loss = torch.stack(list(generator_terms(D, seen, x0, cond, draw, config).values())).sum()

        def heads() -> None:
            real_in = [h.detach().requires_grad_() for h in seen.real]
            real, fake = (D.logits(f, sigma, cond) for f in (real_in, [h.detach() for h in seen.fake]))
            (torch.stack([v.mean() for v in (*real, *fake)]).sum() + r1(real, real_in)).backward()

        return Step(loss, heads)

    networks = list({id(m): m for m in (G, backbone)}.values())
    if config.recompute:
        for m in networks:
            m.recompute()
    learning = [*adapters, *D.heads.parameters(), *D.adapters]
    turns = config.head_updates, config.head_updates - (1 if config.shared else 0)
    return _count([*networks, D.heads], learning, adapters, config, step, config.optimizer, turns)


def _teacher(shapes: Shapes, D: Denoiser, x0: Latents, cond: Cond, config: TeacherTraining) -> Account:
    learning = list(D.requires_grad_(True).parameters())
    sigma = torch.empty(len(x0))

    def step() -> Step:
        return Step(denoising_loss(D, x0, cond, sigma, x0, config.max_weight).mean(), lambda: None)

    return _count([D], learning, learning, config, step, "muon", (0, 0))


@dataclass(frozen=True)
class Step:
    """The main network's loss, and one update of the heads on the same maps."""

    loss: Tensor
    heads: Callable[[], None]


def _count(
    networks: list[nn.Module],
    learning: list[nn.Parameter],
    averaged: list[nn.Parameter],
    config: StudentTraining | TeacherTraining,
    step: Callable[[], Step],
    optimizer: str,
    turns: tuple[int, int],
) -> Account:
    """Trace one step and add up; `turns`: updates of the heads, and forward passes that are made for them alone."""
    for m in networks:
        if isinstance(m, Denoiser):
            m.to("meta", torch.bfloat16)  # what autocast computes in; heads are fp32
    with Tally() as forward, counted_units(networks, forward) as tally, Flash(), kept(tally):
        traced = step()
    backward, heads = _arithmetic(traced.loss.backward), _arithmetic(traced.heads)
    once = forward.flops + backward + tally["again"]
    once += turns[0] * heads + turns[1] * forward.flops
    total = sum(p.numel() for m in networks for p in m.parameters())
    trained = sum(p.numel() for p in learning)
    return Account(
        parameters=total,
        trained=trained,
        weights=FROZEN * (total - trained) + LEARNING * trained,
        gradients=4 * trained,
        optimizer=PER_WEIGHT[optimizer] * trained,
        average=4 * sum(p.numel() for p in averaged),
        activations=tally["kept"],
        largest_unit=tally["largest"],
        flops=config.accumulate * once,
    )


def _arithmetic(run: Callable[[], object]) -> int:
    with Tally() as tally, Flash():
        run()
    return tally.flops


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
def matmul_rate(device: torch.device, side: int = 2048) -> float:
    """FLOP/s of a bf16 matrix product here, the median of five; measured once in a process."""
    a = torch.randn(side, side, device=device, dtype=torch.bfloat16)
    taken = []
    for _ in range(7):
        start = time.perf_counter()
        (a @ a)[0, 0].item()
        taken.append(time.perf_counter() - start)
    return 2 * side**3 / statistics.median(taken[2:])


@contextmanager
def kept(tally: dict[str, int]) -> Iterator[None]:
    """Add the bytes of every tensor that autograd keeps inside the block, each storage once, weights not."""
    seen: dict[int, Any] = {}

    def pack(t: Tensor) -> Tensor:
        storage = t.untyped_storage()
        if not isinstance(t, nn.Parameter) and storage._cdata not in seen:
            seen[storage._cdata] = storage
            tally["kept"] += storage.nbytes()
        return t

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        yield


@contextmanager
def counted_units(networks: Sequence[nn.Module], forward: Tally) -> Iterator[dict[str, int]]:
    """Inside the block recomputed units run once and count their inputs as kept (once where several units share one, as
    a transformer's blocks share their modulation), their insides as `largest`.

    `again` is the arithmetic that their second run will be.
    """
    tally = {"kept": 0, "largest": 0, "again": 0}
    inputs: dict[int, Any] = {}
    before = [(m, m.forward) for network in networks for m in network.modules() if isinstance(m.forward, Recomputed)]
    for module, plain in before:
        module.forward = _Counted(plain, tally, forward, inputs)
    try:
        yield tally
    finally:
        for module, plain in before:
            module.forward = plain


class _Counted:
    def __init__(self, forward: Any, tally: dict[str, int], counter: Tally, inputs: dict[int, Any]) -> None:
        self.forward, self.tally, self.counter, self.inputs = forward, tally, counter, inputs

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if not torch.is_grad_enabled():
            return self.forward.plain(*args, **kwargs)
        inner, before = {"kept": 0}, self.counter.flops
        with kept(inner):
            out = self.forward.plain(*args, **kwargs)
        for storage in (v.untyped_storage() for v in (*args, *kwargs.values()) if isinstance(v, Tensor)):
            if storage._cdata not in self.inputs:
                self.inputs[storage._cdata] = storage
                self.tally["kept"] += storage.nbytes()
        self.tally["largest"] = max(self.tally["largest"], inner["kept"])
        self.tally["again"] += self.counter.flops - before
        return out
