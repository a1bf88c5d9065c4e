"""What goes wrong with generated clips, on purpose and by degrees: what measures are tried on, and learn from.

Every fault is a function of frames (f, h, w, 3 uint8), a strength from 0 (nothing) to 1, and a generator.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from sfv.types import Frames

Fault = Callable[[Frames, float, torch.Generator], Frames]
GREY = (0.299, 0.587, 0.114)


def noise(frames: Frames, strength: float, rng: torch.Generator) -> Frames:
    """Fresh Gaussian noise in every frame, up to 24 levels."""
    return _levels(frames + 24 * strength * torch.randn(frames.shape, generator=rng))


def blur(frames: Frames, strength: float, rng: torch.Generator) -> Frames:
    """Gaussian blur of every frame, up to 2.5 pixels at a short side of 128."""
    sigma = 2.5 * strength * min(frames.shape[1:3]) / 128
    if sigma < 0.05:
        return frames
    reach = max(1, round(3 * sigma))
    kernel = torch.exp(-(torch.arange(-reach, reach + 1.0) ** 2) / (2 * sigma**2))
    kernel = kernel / kernel.sum()
    x = frames.permute(0, 3, 1, 2).float().flatten(0, 1)[:, None]
    x = F.conv2d(F.pad(x, (reach, reach, reach, reach), mode="replicate"), kernel[None, None, :, None])
    x = F.conv2d(x, kernel[None, None, None])[:, 0]
    return _levels(x.unflatten(0, (-1, 3)).permute(0, 2, 3, 1))


def frozen(frames: Frames, strength: float, rng: torch.Generator) -> Frames:
    """Stops for the last share of its length; all of it at 1."""
    last = round((1 - strength) * (len(frames) - 1))
    return frames[torch.arange(len(frames)).clamp(max=last)]


def shuffled(frames: Frames, strength: float, rng: torch.Generator) -> Frames:
    """A share of the frames trade places."""
    count = round(strength * len(frames))
    places = torch.randperm(len(frames), generator=rng)[:count]
    order = torch.arange(len(frames))
    order[places] = places.roll(1)
    return frames[order]


def reversed_time(frames: Frames, strength: float, rng: torch.Generator) -> Frames:
    """Runs backwards, with a probability of `strength`: what is graded is the share of clips."""
    return frames.flip(0) if float(torch.rand((), generator=rng)) < strength else frames


def saturation(frames: Frames, strength: float, rng: torch.Generator) -> Frames:
    """Colours grow stronger as time goes on, up to 2.5 times at the end."""
    x = frames.float()
    grey = (x * torch.tensor(GREY)).sum(-1, keepdim=True)
    gain = torch.linspace(1, 1 + 1.5 * strength, len(frames))[:, None, None, None]
    return _levels(grey + gain * (x - grey))


def jitter(frames: Frames, strength: float, rng: torch.Generator) -> Frames:
    """Every frame is shifted at random, up to 4 pixels either way at a short side of 128."""
    reach = 4 * strength * min(frames.shape[1:3]) / 128
    moves = ((torch.rand(len(frames), 2, generator=rng) * 2 - 1) * reach).round().long().tolist()
    return torch.stack([_shifted(f, dy, dx) for f, (dy, dx) in zip(frames, moves, strict=True)])


def smeared(frames: Frames, strength: float, rng: torch.Generator) -> Frames:
    """Every frame is mixed with the one shown before it: trails, up to 0.8 of what was."""
    shown = [frames[0].float()]
    for frame in frames[1:]:
        shown.append(0.8 * strength * shown[-1] + (1 - 0.8 * strength) * frame.float())
    return _levels(torch.stack(shown))


FAULTS: dict[str, Fault] = {
    "noise": noise,
    "blur": blur,
    "frozen": frozen,
    "shuffled": shuffled,
    "reversed": reversed_time,
    "saturation": saturation,
    "jitter": jitter,
    "smeared": smeared,
}


def _shifted(frame: Tensor, dy: int, dx: int) -> Tensor:
    """Moved by whole pixels; the edge's colour fills what comes in."""
    rows = (torch.arange(frame.shape[0]) - dy).clamp(0, frame.shape[0] - 1)
    columns = (torch.arange(frame.shape[1]) - dx).clamp(0, frame.shape[1] - 1)
    return frame[rows][:, columns]


def _levels(x: Tensor) -> Frames:
    return x.round().clamp(0, 255).to(torch.uint8)
