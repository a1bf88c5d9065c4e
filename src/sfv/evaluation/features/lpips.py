"""LPIPS (1801.03924, version 0.1, AlexNet trunk; BSD-2): how unlike two pictures look."""

import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor

from sfv.evaluation.features.weights import Weights
from sfv.types import Frames

SHIFT, SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
PADS, POOLED = (2, 2, 1, 1, 1), (1, 2)


@torch.inference_mode()
def lpips(a: Frames, b: UInt8[Tensor, "_ h w 3"], w: Weights) -> Float[Tensor, " f"]:
    """Distance of each frame of `a` to that of `b` (or to its only one); 0 for equal ones."""
    total = torch.zeros(len(a))
    for i, (x, y) in enumerate(zip(_taps(a, w), _taps(b, w), strict=True)):
        difference = (_unit(x) - _unit(y)).square()
        total += F.conv2d(difference, w[f"lin{i}.weight"]).mean((1, 2, 3))
    return total


def _taps(frames: Frames, w: Weights) -> list[Tensor]:
    """AlexNet's five ReLU outputs."""
    shift, scale = (torch.tensor(v)[:, None, None] for v in (SHIFT, SCALE))
    x = (frames.permute(0, 3, 1, 2).float() / 127.5 - 1 - shift) / scale
    taps = []
    for i, pad in enumerate(PADS):
        x = F.max_pool2d(x, 3, 2) if i in POOLED else x
        x = F.relu(F.conv2d(x, w[f"conv{i}.weight"], w[f"conv{i}.bias"], stride=4 if i == 0 else 1, padding=pad))
        taps.append(x)
    return taps


def _unit(x: Tensor) -> Tensor:
    return x / (x.square().sum(1, keepdim=True).sqrt() + 1e-10)
