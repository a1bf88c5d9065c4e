"""LoRA (2106.09685) inside a network: W x + B A x (alpha = r). Names of the weights stay as they are.

One frozen network serves as two: with its adapters it generates, without them it is the discriminator's backbone.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sfv.errors import SfvError


class AdaptedLinear(nn.Linear):
    """A linear layer with a low-rank branch, which is off while `adapted` is False."""

    lora_A: nn.Parameter  # (r, in)
    lora_B: nn.Parameter  # (out, r), starts at zero
    adapted: bool

    def forward(self, input: Tensor) -> Tensor:
        """(..., in) -> (..., out)."""
        out = F.linear(input, self.weight, self.bias)
        if not self.adapted:
            return out
        low = F.linear(input, self.lora_A.to(input.dtype))
        return out + F.linear(low, self.lora_B.to(input.dtype))


class AdaptedConv(nn.Conv3d):
    """A convolution over time with a low-rank branch: the same kernel to r channels, then 1 x 1 x 1.

    The UNet applies its weight to flattened clips (blocks.over_time), and so the branch.
    """

    lora_A: nn.Parameter  # (r, in, *kernel)
    lora_B: nn.Parameter  # (out, r, 1, 1, 1), starts at zero
    adapted: bool

    def branch(self, clip: Tensor) -> Tensor:
        """What the adapter adds, (b, in, f, h * w) -> (b, out, f, h * w)."""
        low = F.conv2d(clip, self.lora_A[..., 0].to(clip.dtype), padding=(self.kernel_size[0] // 2, 0))
        return F.conv2d(low, self.lora_B[..., 0].to(clip.dtype))


Adapted = AdaptedLinear | AdaptedConv


def add_adapters(
    network: nn.Module, rank: int, within: str = "transformer_blocks", over_time: bool = False
) -> list[nn.Parameter]:
    """Give every linear layer inside transformer blocks an adapter, in place; freeze all else; return the adapters.

    `within` stands in the names of such layers. `over_time`: the convolutions over time too.
    """
    network.requires_grad_(False)
    rng = torch.Generator().manual_seed(0)
    added: list[nn.Parameter] = []
    for name, child in network.named_modules():
        if type(child) is nn.Linear and within in name:
            child.__class__ = AdaptedLinear
        elif over_time and type(child) is nn.Conv3d and child.kernel_size[0] > 1:
            child.__class__ = AdaptedConv
        else:
            continue
        assert isinstance(child, Adapted)
        (out, *inner), on = child.weight.shape, child.weight.device
        start = torch.zeros(rank, *inner, device=on)
        if start.device.type != "meta":
            start.copy_(torch.randn(start.shape, generator=rng) / rank)
        last = torch.zeros(out, rank, *[1] * (len(inner) - 1), device=on)
        child.lora_A, child.lora_B, child.adapted = nn.Parameter(start), nn.Parameter(last), True
        added += [child.lora_A, child.lora_B]
    if not added:
        raise SfvError("this network has no transformer blocks to adapt; train it in full (lora=0)")
    return added


def adapted(network: nn.Module) -> list[Adapted]:
    """Every layer with an adapter."""
    return [m for m in network.modules() if isinstance(m, Adapted)]


@contextmanager
def adapters(network: nn.Module, on: bool) -> Iterator[None]:
    """The network with its adapters on or off, inside the block."""
    layers = adapted(network)
    before = [m.adapted for m in layers]
    for m in layers:
        m.adapted = on
    try:
        yield
    finally:
        for m, was in zip(layers, before, strict=True):
            m.adapted = was


@torch.no_grad()
def merge_adapters(network: nn.Module) -> None:
    """Add every branch to its weight and turn the layers back into plain ones, in place."""
    for m in adapted(network):
        product = m.lora_B.double().flatten(1) @ m.lora_A.double().flatten(1)
        m.weight += product.view_as(m.weight).to(m.weight.dtype)
        del m.lora_A, m.lora_B, m.adapted
        m.__class__ = nn.Linear if isinstance(m, AdaptedLinear) else nn.Conv3d  # type: ignore[assignment]


def adapter_state(network: nn.Module, before: str = "unet.") -> dict[str, Tensor]:
    """The adapters by the layers' own names, after `before`; other programs' names are made of them
    (single_file.lora_for_comfyui, lora_for_peft)."""
    state = {}
    for name, m in network.named_modules():
        if isinstance(m, Adapted):
            state[f"{before}{name}.lora_A.weight"] = m.lora_A.detach()
            state[f"{before}{name}.lora_B.weight"] = m.lora_B.detach()
    return state


def stacked(stages: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Adapters that were trained and merged one after the other, as one that does what all of them do.

    B1 A1 + B2 A2 = [B1 B2] [A1; A2]: the rank is the sum of theirs, in every layer. Where a stage has no adapter, zeros
    stand for it.
    """
    if len(stages) == 1:
        return dict(stages[0])
    ranks = [next(len(v) for k, v in s.items() if ".lora_A." in k) for s in stages]
    shapes = {k: v for s in stages for k, v in s.items()}
    made = {}
    for key, like in shapes.items():
        at = 0 if ".lora_A." in key else 1
        sizes = [(*like.shape[:at], r, *like.shape[at + 1 :]) for r in ranks]
        made[key] = torch.cat(
            [s[key] if key in s else like.new_zeros(z) for s, z in zip(stages, sizes, strict=True)], at
        )
    return made
