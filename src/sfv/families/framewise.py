"""Layers that treat frames alone, a few at a time; and clips laid out for layers over time."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

CACHE = 2_500_000
"""Numbers that pass through a frame-wise layer together on a CPU: more would leave its caches."""


AT_MOST: ContextVar[int] = ContextVar("at_most", default=1_000_000)
"""Frames that a frame-wise layer may take together."""


@contextmanager
def at_most(frames: int) -> Iterator[None]:
    """Frame-wise layers take so many frames together, inside the block: less memory, the same numbers."""
    token = AT_MOST.set(frames)
    try:
        yield
    finally:
        AT_MOST.reset(token)


def together(frames: Tensor) -> int:
    """How many frames to take at a time: all on an accelerator, what fits the caches on a CPU, within the limit."""
    return min(AT_MOST.get(), _fitting(frames))


def _fitting(frames: Tensor) -> int:
    return max(1, min(len(frames), CACHE // frames[0].numel())) if frames.device.type == "cpu" else len(frames)


def frame_wise(layer: Callable[[Tensor], Tensor], frames: Tensor, few: int | None = None) -> Tensor:
    """Apply a layer that treats frames (n, ...) alone, a few at a time."""
    parts = frames.split(few or together(frames))
    first = layer(parts[0])
    if len(parts) == 1 or torch.is_grad_enabled():
        return torch.cat([first, *(layer(part) for part in parts[1:])])
    last = first.dim() == 4 and first.is_contiguous(memory_format=torch.channels_last)
    order = torch.channels_last if last else torch.contiguous_format
    out = torch.empty((len(frames), *first.shape[1:]), dtype=first.dtype, device=first.device, memory_format=order)
    for target, part in zip(out.split(len(parts[0])), parts, strict=True):
        target.copy_(first if part is parts[0] else layer(part))
    return out


def along_time(frames: Tensor, b: int) -> Tensor:
    """(b * f, c, h, w) -> (b, c, f, h * w); a view of channels-last storage, a channels-last copy of any other."""
    rows = frames.permute(0, 2, 3, 1).contiguous()
    return rows.view(b, -1, rows.shape[1] * rows.shape[2], rows.shape[3]).permute(0, 3, 1, 2)


def across_space(clip: Tensor, shape: torch.Size) -> Tensor:
    """Inverse of `along_time`, channels-last."""
    n, _, h, w = shape
    return clip.permute(0, 2, 3, 1).reshape(n, h, w, -1).permute(0, 3, 1, 2)


def clips(frames: Tensor, b: int) -> Tensor:
    """(b * f, c, h, w) -> (b, c, f, h * w), without a copy."""
    if frames.is_contiguous(memory_format=torch.channels_last) and not frames.is_contiguous():
        return along_time(frames, b)
    return frames.flatten(2).unflatten(0, (b, -1)).transpose(1, 2)


def frames_of(clip: Tensor, like: Tensor) -> Tensor:
    """Inverse of `clips`, laid out as `like`."""
    if like.is_contiguous(memory_format=torch.channels_last) and not like.is_contiguous():
        return across_space(clip, like.shape)
    return clip.transpose(1, 2).reshape(like.shape)


def flat_conv(clip: Tensor, conv: nn.Conv3d) -> Tensor:
    """Conv3d of kernel (3, 1, 1) as Conv2d of kernel (3, 1) on (b, c, f, h * w).

    The view is free for contiguous clips; CPU and GPU libraries run the flat form several times faster.
    """
    return F.conv2d(clip, conv.weight[..., 0], conv.bias, padding=(1, 0))


class ActiveNorm(nn.GroupNorm):
    """A norm that may apply SiLU by itself."""

    def active(self, maps: Tensor, spare: bool) -> Tensor:
        """SiLU of the norm; in place if spare."""
        return F.silu(self(maps), inplace=spare)


def active(norm: nn.Module, maps: Tensor, spare: bool) -> Tensor:
    """SiLU after a norm, in one pass where the norm can; in place if nobody asks for gradients."""
    return norm.active(maps, spare) if isinstance(norm, ActiveNorm) else F.silu(norm(maps), inplace=spare)
