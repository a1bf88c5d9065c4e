"""How straight a picture's edges are, in seven numbers: boxes, signs and letters have long lines, faces have few.

Every edge votes for the line that it may lie on, given its own direction (Hough; Duda and Hart, 1972). No weights, and
no shapes that depend on the picture, so that it exports.
"""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from sfv.types import RgbaPicture

NUMBERS = 7
ANGLES, OFFSETS = 36, 96
"""Cells of the votes; an offset cell is two pixels of a picture of 128."""
FAINT, STRONG = 0.04, 0.3
"""Of an edge: below it is none, above it counts no more."""
STRAIGHT = (0, 1, 35, 16, 17, 18)
"""Angles that are upright or level, nearly."""


def straight_lines(pictures: RgbaPicture) -> Float[Tensor, "b 7"]:
    """Of pictures (b, 4, h, w) in [-1, 1], colours multiplied with alpha: how much of all votes the strongest 1, 3 and
    12 lines hold, how uneven votes are, the strongest direction's share, that of upright and level ones, and how many
    directions there are."""
    share = votes(pictures.float())
    top = share.flatten(1).topk(12).values
    directions = share.square().sum(2).sqrt()
    directions = directions / directions.sum(1, keepdim=True).clamp(min=1e-6)
    several = -(directions.clamp(min=1e-6).log() * directions).sum(1)
    straight = directions[:, list(STRAIGHT)].sum(1)
    whole = share.square().sum((1, 2)).sqrt()
    return torch.stack([top[:, 0], top[:, :3].sum(1), top.sum(1), whole, directions.amax(1), straight, several], 1)


def votes(pictures: RgbaPicture) -> Float[Tensor, "b angles offsets"]:
    """For lines, as shares of all; pictures lie over white."""
    strength, turn = _edges(pictures[:, :3] + 1 - pictures[:, 3:])
    height, width = strength.shape[1:]
    rows, columns = (torch.arange(n, device=turn.device) + 0.5 - n / 2 for n in (height, width))
    scale = OFFSETS * 2 / 3 / width  # the corners of a square lie outside: they count as its furthest lines
    found = torch.zeros(len(turn), ANGLES * OFFSETS, device=turn.device)
    for beside in (-1, 0, 1):  # a direction is known to a cell, about
        cell = (turn / math.pi * ANGLES).floor() + beside
        angle = (cell + 0.5) * math.pi / ANGLES
        offset = columns * angle.cos() + rows[:, None] * angle.sin()
        at = (offset * scale + OFFSETS / 2).floor().clamp(0, OFFSETS - 1)
        over = (cell < 0) | (cell >= ANGLES)  # half a turn on, the other way round
        at = torch.where(over, OFFSETS - 1 - at, at)
        cell = torch.where(cell < 0, cell + ANGLES, torch.where(cell >= ANGLES, cell - ANGLES, cell))
        found = found.scatter_add(1, (cell * OFFSETS + at).long().flatten(1), strength.flatten(1))
    return (3 * found / found.sum(1, keepdim=True).clamp(min=1e-3)).unflatten(1, (ANGLES, OFFSETS))


def _edges(colours: Float[Tensor, "b 3 h w"]) -> tuple[Float[Tensor, "b h w"], Float[Tensor, "b h w"]]:
    """How strong, 0 where faint, and the direction across them, in [0, pi)."""
    grey = F.pad(colours.mean(1, keepdim=True), (3, 3, 3, 3), mode="replicate")
    smooth = torch.tensor([1.0, 4, 6, 4, 1], device=grey.device) / 16
    grey = F.conv2d(F.conv2d(grey, smooth.view(1, 1, 5, 1)), smooth.view(1, 1, 1, 5))
    sobel = torch.tensor([[1.0, 2, 1], [0, 0, 0], [-1, -2, -1]], device=grey.device) / 8
    down, across = (F.conv2d(grey, kernel[None, None])[:, 0] for kernel in (sobel, sobel.T.contiguous()))
    strength = (down.square() + across.square()).sqrt()
    turn = torch.atan2(down, across)
    turn = torch.where(turn < 0, turn + math.pi, turn)
    return strength.clamp(max=STRONG) * (strength > FAINT), torch.where(turn >= math.pi, 0.0, turn)
