"""What a student run needs before it is started: parameters, memory and arithmetic, counted without weights.

The networks are built on PyTorch's meta device and one step is traced there: every tensor that autograd keeps is
counted, units that are recomputed count their inputs and, once, the largest inside. What it leaves out: the
allocator's rounding, kernels' workspace and the codec; a few per cent.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from sfv.adversary.discriminator import Discriminator
from sfv.edm.denoiser import Denoiser
from sfv.families.blueprints import svd_denoiser
from sfv.families.recompute import Recomputed, units
from sfv.training.config import StudentTraining
from sfv.training.step import Draw, generator_terms, judge
from sfv.types import Cond

GB = 1e9
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


def account(G: Denoiser, teacher: Denoiser, cond: Cond, shape: tuple[int, ...], config: StudentTraining) -> Account:
    """Count a step of `config` for networks on the meta device (the same one twice if it learns by adapters).

    `shape` (b, f, c, y, x) of the latents; `cond` as the family's conditioner makes it, on meta.
    """
    embed = cond["image_embeds"].shape[-1]
    with torch.device("meta"):
        D = Discriminator(teacher, embed, config.head_width)
        x0, n, n_d = (torch.empty(shape) for _ in range(3))
        sigma = torch.empty(shape[0])
        draw = Draw(sigma, n, sigma, n_d, n)
    for m in (G, teacher):
        m.to("meta", torch.bfloat16)  # what autocast computes in
    learning = G.adapt(config.lora) if config.lora else list(G.requires_grad_(True).parameters())
    trained = sum(p.numel() for p in learning) + sum(p.numel() for p in D.heads.parameters())
    networks = list({id(m): m for m in (G, teacher)}.values())
    if config.recompute:
        for m in networks:
            m.recompute()
    with counted_units(networks) as tally, FlopCounterMode(display=False) as flops, lean_flash():
        with kept(tally):
            seen = judge(G, D, x0, cond, draw)
            generator_terms(D, seen, x0, cond, draw, config)
    total = sum(p.numel() for m in (*networks, D.heads) for p in m.parameters())
    return Account(
        parameters=total,
        trained=trained,
        weights=FROZEN * (total - trained) + LEARNING * trained,
        gradients=4 * trained,
        optimizer=PER_WEIGHT[config.optimizer] * trained,
        average=4 * sum(p.numel() for p in learning),
        activations=tally["kept"],
        largest_unit=tally["largest"],
        flops=3 * flops.get_total_flops(),
    )


def account_svd(config: StudentTraining, frames: int = 14, height: int = 448, width: int = 768) -> Account:
    """Count a step of SVD itself at a clip size in pixels."""
    teacher = svd_denoiser()
    G = teacher if config.lora else svd_denoiser()
    b, y, x = config.clips, height // 8, width // 8
    shapes = {"image_latents": (b, 4, y, x), "image_embeds": (b, 1, 1024), "added_time_ids": (b, 3)}
    cond = {k: torch.empty(shape, device="meta") for k, shape in shapes.items()}
    return account(G, teacher, cond, (b, frames, 4, y, x), config)


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
def counted_units(networks: Sequence[nn.Module]) -> Iterator[dict[str, int]]:
    """Inside the block recomputed units run once and count their inputs as kept, their insides as `largest`."""
    tally = {"kept": 0, "largest": 0}
    before = [(m, m.forward) for network in networks for m in units(network) if isinstance(m.forward, Recomputed)]
    for module, forward in before:
        module.forward = _Counted(forward, tally)
    try:
        yield tally
    finally:
        for module, forward in before:
            module.forward = forward


class _Counted:
    def __init__(self, forward: Any, tally: dict[str, int]) -> None:
        self.forward, self.tally = forward, tally

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if not torch.is_grad_enabled():
            return self.forward.plain(*args, **kwargs)
        inner = {"kept": 0}
        with kept(inner):
            out = self.forward.plain(*args, **kwargs)
        inputs = [v for v in (*args, *kwargs.values()) if isinstance(v, Tensor)]
        self.tally["kept"] += sum(v.numel() * v.element_size() for v in inputs)
        self.tally["largest"] = max(self.tally["largest"], inner["kept"])
        return out


@contextmanager
def lean_flash() -> Iterator[None]:
    """Attention that keeps what flash kernels keep (inputs, output, one number per row), never the matrix."""
    plain = F.scaled_dot_product_attention
    F.scaled_dot_product_attention = _Flash.apply
    try:
        yield
    finally:
        F.scaled_dot_product_attention = plain


class _Flash(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Shapes and kept tensors of a flash kernel."""
        out = torch.empty_like(q)
        ctx.save_for_backward(q, k, v, out, q.new_empty(q.shape[:-1], dtype=torch.float32))
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        """Never asked for: an account runs forward alone."""
        raise NotImplementedError
