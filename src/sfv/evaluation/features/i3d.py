"""I3D (Carreira and Zisserman, 1705.07750; Kinetics-400): 400 logits per clip, as published FVD takes them.

From the TorchScript file that FVD implementations share, or a safetensors file with the keys of pytorch-i3d.
"""

from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from sfv.errors import SfvError
from sfv.evaluation.features.weights import Row, Weights, batch_norm, checked, read_weights
from sfv.types import Frames

SCRIPT = "i3d_torchscript.pt"
SCRIPT_SHA256 = "bec6519f66ea534e953026b4ae2c65553c17bf105611c746d904657e5860a5e2"
"""Of the shared TorchScript file (51,235,320 bytes; hub: flateon/FVD-I3D-torchscript)."""
SIDE = 224
Input = Float[Tensor, "1 3 f _ _"]


def preprocess(frames: Frames) -> Input:
    """Bilinear to 224 x 224 with half-pixel centres and without antialiasing, whatever the aspect; [-1, 1]."""
    x = frames.permute(0, 3, 1, 2).float()
    x = F.interpolate(x, size=(SIDE, SIDE), mode="bilinear", align_corners=False)
    return (2 * x / 255 - 1).transpose(0, 1)[None]


def open_i3d(path: Path) -> Callable[[Frames], Row]:
    """From a safetensors file, or from the one TorchScript file that is known by its hash (it is a program)."""
    if path.suffix == ".safetensors":
        weights = read_weights(path)
        return lambda frames: _row(logits(preprocess(frames), weights))
    checked(path, SCRIPT_SHA256)
    try:
        script = torch.jit.load(str(path)).eval()
    except RuntimeError as error:
        raise SfvError(f"{path} cannot be opened as TorchScript ({error})") from error
    return lambda frames: _row(script(preprocess(frames), rescale=False, resize=False, return_features=True))


def _row(x: Tensor) -> Row:
    return x.reshape(-1)


@torch.inference_mode()
def logits(x: Input, w: Weights) -> Float[Tensor, "1 n"]:
    """The whole network; logits of every pair of time steps, averaged."""
    x = _unit(x, w, "Conv3d_1a_7x7", 2)
    x = _pool(x, (1, 3, 3), (1, 2, 2))
    x = _unit(_unit(x, w, "Conv3d_2b_1x1"), w, "Conv3d_2c_3x3")
    x = _pool(x, (1, 3, 3), (1, 2, 2))
    for name in ("Mixed_3b", "Mixed_3c"):
        x = _mixed(x, w, name)
    x = _pool(x, (3, 3, 3), (2, 2, 2))
    for letter in "bcdef":
        x = _mixed(x, w, f"Mixed_4{letter}")
    x = _pool(x, (2, 2, 2), (2, 2, 2))
    x = _mixed(_mixed(x, w, "Mixed_5b"), w, "Mixed_5c")
    if x.shape[2] < 2:
        raise SfvError(f"I3D needs at least 9 frames; these make {x.shape[2]} time step after pooling")
    x = F.avg_pool3d(x, (2, *x.shape[3:]), stride=1)
    return F.conv3d(x, w["logits.conv3d.weight"], w["logits.conv3d.bias"]).mean((2, 3, 4))


def _mixed(x: Tensor, w: Weights, at: str) -> Tensor:
    """An inception module: 1x1, two 1x1 -> 3x3 branches, pool -> 1x1."""
    branches = [
        _unit(x, w, f"{at}.b0"),
        _unit(_unit(x, w, f"{at}.b1a"), w, f"{at}.b1b"),
        _unit(_unit(x, w, f"{at}.b2a"), w, f"{at}.b2b"),
        _unit(_pool(x, (3, 3, 3), (1, 1, 1)), w, f"{at}.b3b"),
    ]
    return torch.cat(branches, 1)


def _unit(x: Tensor, w: Weights, at: str, stride: int = 1) -> Tensor:
    """Convolution, batch statistics, ReLU."""
    weight = w[f"{at}.conv3d.weight"]
    x = F.conv3d(_same(x, tuple(weight.shape[2:]), (stride,) * 3), weight, stride=stride)
    return F.relu(batch_norm(x, w, f"{at}.bn", 1e-5))


def _pool(x: Tensor, kernel: tuple[int, ...], stride: tuple[int, ...]) -> Tensor:
    return F.max_pool3d(_same(x, kernel, stride), kernel, stride)


def _same(x: Tensor, kernel: tuple[int, ...], stride: tuple[int, ...]) -> Tensor:
    """TensorFlow's "same" padding with zeros: the odd cell goes to the far side."""
    pads: list[int] = []
    for n, k, s in zip(reversed(x.shape[2:]), reversed(kernel), reversed(stride), strict=True):
        total = max((-(-n // s) - 1) * s + k - n, 0)
        pads += [total // 2, total - total // 2]
    return F.pad(x, pads)
