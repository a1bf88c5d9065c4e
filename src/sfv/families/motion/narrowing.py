"""A motion decoder with fewer channels, begun as the one before: what counts least is left out.

Channels are ranked by the squares of the weights that read them, as filters are by their norms (Li et al., 1608.08710).
"""

from collections.abc import Iterable

import torch
from jaxtyping import Int
from torch import Tensor

from sfv.errors import SfvError
from sfv.families.motion.codec import MotionCodecConfig, MotionNetworks, quick_layout

Kept = Int[Tensor, " channels"]
Weights = dict[str, Tensor]


def narrowed(networks: MotionNetworks, widths: tuple[int, int, int, int]) -> MotionNetworks:
    """A copy whose decoder has `widths` channels at each size; it needs training.

    The picture's own features, found once a clip, keep theirs. Raises SfvError where there are fewer than that.
    """
    old = networks.config
    if any(n > w for n, w in zip(widths, old.widths, strict=True)):
        raise SfvError(f"widths {list(widths)}: the decoder has {list(old.widths)} channels")
    pictures = old.picture_widths or old.widths[:3]
    config = MotionCodecConfig.model_validate(old.model_dump() | {"widths": widths, "picture_widths": pictures})
    left = MotionNetworks(config)
    mine = {k: v.clone() for k, v in networks.state_dict().items()}
    for size, width in enumerate(widths):
        if width < old.widths[size]:
            _leave_out(mine, size, width, old.draws)
    left.load_state_dict(mine)
    return quick_layout(left).to(networks.std.device)


def _leave_out(weights: Weights, size: int, width: int, draws: bool) -> None:
    """Keep the `width` channels that count most at one size, and between the two convolutions of each block there.

    Without drawing, what draws counts for nothing.
    """
    firsts = _found(weights, f"decoder.levels.{size}.", ".first.weight")
    readers = [*firsts, *_found(weights, f"decoder.narrow.{size}.", "weight")]
    readers += _found(weights, f"decoder.flow.{size}.", "weight")
    if size == LAST:
        readers.append("decoder.exit.weight")
    count = readers if draws or size != LAST else ["decoder.flow.3.weight"]
    kept = _strongest([weights[name] for name in count], width)
    writers = [f"decoder.levels.{size}.{i}.second" for i in range(len(firsts))]
    writers += [f"decoder.join.{size}", f"decoder.see.{size - 1}", f"decoder.narrow.{size - 1}"]
    writers += ["decoder.entry"] if size == 0 else ["decoder.look"] if size == LAST else []
    for name in readers:
        weights[name] = weights[name][:, kept]
    for name in writers:
        _write(weights, name, kept)
    for first in firsts:
        second = first.replace(".first.", ".second.")
        inner = _strongest([weights[second]], width)
        _write(weights, first.removesuffix(".weight"), inner)
        weights[second] = weights[second][:, inner]


LAST = 3
"""The size that draws; its maps are what the last correction of the flow reads."""


def _found(weights: Weights, start: str, end: str) -> list[str]:
    return [name for name in weights if name.startswith(start) and name.endswith(end)]


def _strongest(readers: Iterable[Tensor], width: int) -> Kept:
    """The channels whose readers' weights are largest, each reader counted alike, in their order."""
    squares = [reader.float().square().sum((0, 2, 3)) for reader in readers]
    counts = torch.stack([s / s.sum().clamp(min=1e-12) for s in squares]).sum(0)
    return counts.topk(width).indices.sort().values


def _write(weights: Weights, layer: str, kept: Kept) -> None:
    """Let a convolution say these channels alone, if there is such a convolution."""
    for name in (f"{layer}.weight", f"{layer}.bias"):
        if name in weights:
            weights[name] = weights[name][kept]
