"""LPIPS (1801.03924) as a loss: how unlike two pictures look to AlexNet, with gradients to the first."""

from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from sfv.errors import SfvError

FILE = "lpips_alexnet.safetensors"
SHIFT, SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
PADS, POOLED = (2, 2, 1, 1, 1), (1, 2)
Rgb = Float[Tensor, "n 3 h w"]


class Perceptual:
    """LPIPS with the weights of one file."""

    def __init__(self, weights: Path) -> None:
        path = weights / FILE
        try:
            self.w = {k: v.float() for k, v in load_file(path).items()}
        except (OSError, SafetensorError) as error:
            raise SfvError(f"{path} cannot be opened ({error}); runs/recipes/feature_weights.py makes it") from error

    def __call__(self, generated: Rgb, true: Rgb) -> Float[Tensor, ""]:
        """Mean over pictures, in [-1, 1]; `true` gets no gradient."""
        self.w = {k: v.to(generated.device) for k, v in self.w.items()}
        with torch.no_grad():
            target = self.taps(true)
        total = torch.zeros((), device=generated.device)
        for i, (x, y) in enumerate(zip(self.taps(generated), target, strict=True)):
            difference = (unit(x) - unit(y)).square()
            total = total + F.conv2d(difference, self.w[f"lin{i}.weight"]).float().mean()
        return total

    def taps(self, pictures: Rgb) -> list[Tensor]:
        """AlexNet's five ReLU outputs."""
        shift, scale = (torch.tensor(v, device=pictures.device)[:, None, None] for v in (SHIFT, SCALE))
        x, taps = ((pictures - shift) / scale).contiguous(memory_format=torch.channels_last), []
        for i, pad in enumerate(PADS):
            x = F.max_pool2d(x, 3, 2) if i in POOLED else x
            w, b = self.w[f"conv{i}.weight"], self.w[f"conv{i}.bias"]
            x = F.relu(F.conv2d(x, w, b, stride=4 if i == 0 else 1, padding=pad))
            taps.append(x)
        return taps


def unit(features: Tensor) -> Tensor:
    """Of length 1 along channels; its gradient is finite where there is nothing."""
    wide = features.float()
    return wide / (wide.square().sum(1, keepdim=True) + 1e-8).sqrt()
