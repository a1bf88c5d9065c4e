"""A small video network that recognises faults of a clip: features for Frechet distances that need no download.

Trained on animated emoji by `sfv train recogniser`; (2+1)D convolutions after R(2+1)D (1711.11248).
"""

from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from sfv.errors import SfvError
from sfv.measures.corruptions import FAULTS
from sfv.media import replacing
from sfv.types import Frames

RECOGNISER = "recogniser.safetensors"
SIDE = 128
FOLD, WIDTHS = 4, (48, 96, 128)
ROW = 4 * WIDTHS[-1] + WIDTHS[-2]


class Block(nn.Module):
    """Space, then time, each with batch statistics; a shortcut where the shape stays."""

    def __init__(self, before: int, width: int, stride: int) -> None:
        super().__init__()
        self.space = nn.Conv2d(before, width, 3, stride, 1, bias=False)
        self.time = nn.Conv2d(width, width, (3, 1), padding=(1, 0), bias=False)
        self.norms = nn.ModuleList([nn.BatchNorm2d(width), nn.BatchNorm2d(width)])

    def forward(self, x: Float[Tensor, "b f c h w"]) -> Float[Tensor, "b f _ _ _"]:
        """Convolutions over time are convolutions over (frames, positions)."""
        b, f = x.shape[:2]
        h = F.relu(self.norms[0](self.space(x.flatten(0, 1)))).unflatten(0, (b, f))
        lines = h.flatten(3).transpose(1, 2)
        lines = F.relu(self.norms[1](self.time(lines)))
        h = lines.transpose(1, 2).unflatten(3, h.shape[3:])
        return h + x if h.shape == x.shape else h


class Recogniser(nn.Module):
    """Clips -> feature rows, and what is wrong with them: one strength per fault, in the order of FAULTS."""

    def __init__(self) -> None:
        super().__init__()
        first, *rest = WIDTHS
        stages = [nn.Sequential(Block(3 * FOLD**2, first, 1), Block(first, first, 1))]
        stages += [nn.Sequential(Block(a, b, 2), Block(b, b, 1)) for a, b in zip(WIDTHS, rest, strict=False)]
        self.stages = nn.ModuleList(stages)
        self.strengths = nn.Linear(ROW, len(FAULTS))

    def rows(self, clips: Float[Tensor, "b f 3 h w"]) -> Float[Tensor, "b _"]:
        """Clips in [-1, 1] at SIDE x SIDE -> per channel: mean, spread, change and drift over time."""
        x = F.pixel_unshuffle(clips, FOLD)
        for stage in self.stages:
            before, x = x, stage(x)
        m = x.mean((3, 4))
        half = m.shape[1] // 2
        change = (m[:, 1:] - m[:, :-1]).abs().mean(1)
        drift = m[:, -half:].mean(1) - m[:, :half].mean(1)
        return torch.cat([before.mean((1, 3, 4)), m.mean(1), x.std((1, 3, 4)), 4 * change, 4 * drift], 1)

    def forward(self, clips: Float[Tensor, "b f 3 h w"]) -> tuple[Tensor, Tensor]:
        """Rows, and a strength for every fault."""
        rows = self.rows(clips)
        return rows, self.strengths(rows)


def prepare(frames: Frames) -> Float[Tensor, "1 f 3 SIDE SIDE"]:
    """Frames of any size as the network takes them: bilinear, antialiased."""
    x = frames.permute(0, 3, 1, 2).float()
    if x.shape[2:] != (SIDE, SIDE):
        x = F.interpolate(x, size=(SIDE, SIDE), mode="bilinear", antialias=True, align_corners=False)
    return (x / 127.5 - 1)[None]


def save_recogniser(network: Recogniser, path: Path) -> None:
    """Half precision, in one file."""
    with replacing(path) as beside:
        save_file({k: v.half() if v.is_floating_point() else v for k, v in network.state_dict().items()}, beside)


def load_recogniser(path: Path) -> Recogniser:
    """Ready to extract; SfvError if the file is not one."""
    network = Recogniser()
    try:
        network.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in load_file(path).items()})
    except (OSError, SafetensorError, RuntimeError) as error:
        reason = str(error).split("\n")[0]
        raise SfvError(f"{path} is not a recogniser's weights ({reason}); see `sfv train recogniser`") from error
    return network.eval()
