"""EfficientNet-lite0 (1905.11946; ImageNet, Apache-2.0) sees appearance: mean and spread over time of 1280 channels."""

import torch
import torch.nn.functional as F
from torch import Tensor

from sfv.evaluation.features.weights import Row, Weights, batch_norm
from sfv.types import Frames

STRIDES = (1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1, 1, 1, 1)
"""Of the 16 inverted-residual blocks (EfficientNet-B0 without squeeze-excitation)."""


@torch.inference_mode()
def appearance(frames: Frames, w: Weights) -> Row:
    """EfficientNet-lite0 at 224x224, (x - 127) / 128: mean and standard deviation over time, 2560 numbers."""
    x = frames.permute(0, 3, 1, 2).float()
    x = F.interpolate(x, size=(224, 224), mode="bilinear", antialias=True, align_corners=False)
    pooled = torch.cat([_lite0(part, w) for part in ((x - 127) / 128).split(2)])
    return torch.cat([pooled.mean(0), pooled.std(0)])


def _lite0(x: Tensor, w: Weights) -> Tensor:
    """(n, 3, 224, 224) -> (n, 1280) pooled features."""
    x = F.relu6(batch_norm(_same(x, w["_conv_stem.weight"], 2), w, "_bn0"))
    for i, stride in enumerate(STRIDES):
        x = _inverted_residual(x, w, f"_blocks.{i}.", stride)
    return F.relu6(batch_norm(F.conv2d(x, w["_conv_head.weight"]), w, "_bn1")).mean((2, 3))


def _inverted_residual(x: Tensor, w: Weights, at: str, stride: int) -> Tensor:
    h = x
    if f"{at}_expand_conv.weight" in w:
        h = F.relu6(batch_norm(F.conv2d(h, w[f"{at}_expand_conv.weight"]), w, f"{at}_bn0"))
    depth = w[f"{at}_depthwise_conv.weight"]
    h = F.relu6(batch_norm(_same(h, depth, stride, groups=len(depth)), w, f"{at}_bn1"))
    h = batch_norm(F.conv2d(h, w[f"{at}_project_conv.weight"]), w, f"{at}_bn2")
    return h + x if h.shape == x.shape else h


def _same(x: Tensor, weight: Tensor, stride: int, groups: int = 1) -> Tensor:
    """Convolution with TensorFlow's "same" padding: the odd pixel goes to the far side."""
    k, pads = weight.shape[-1], []
    for n in (x.shape[3], x.shape[2]):
        total = max((-(-n // stride) - 1) * stride + k - n, 0)
        pads += [total // 2, total - total // 2]
    return F.conv2d(F.pad(x, pads), weight, stride=stride, groups=groups)
