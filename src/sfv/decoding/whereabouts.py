"""Where a clip's frames have places of its picture: a flow says where places of frames come from, not where they go.

Places are shares of the frame's sides, from its middle, (x, y), y downward; flows are in pixels.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from sfv.decoding.warping import Flow

TURNS = 8
"""Times a place's new place is corrected."""
Points = Float[Tensor, "points 2"]
Places = Float[Tensor, "n points 2"]
"""Of each of some frames."""


def places(flow: Flow, points: Points, times: Float[Tensor, " n"]) -> Float[Tensor, "n few 2"]:
    """Where a loop's frames have the outline of points, at places around the round, in frames: linear between
    neighbours, the last and the first among them."""
    sides, f = torch.tensor([flow.shape[3], flow.shape[2]]), len(flow)
    at = gone(flow.cpu(), outline(points.float(), sides))
    before = times.floor()
    one, other = ((k % f).long() for k in (before, before + 1))
    return torch.lerp(at[one], at[other], (times - before)[:, None, None])


def gone(flow: Flow, points: Points | Places) -> Places:
    """Where each frame has places of the picture, in shares of the sides from the middle; beyond the frame its flow
    goes on as evenly as it comes to the border."""
    sides = torch.tensor([flow.shape[3], flow.shape[2]])
    end = 0.5 - 0.5 / sides
    at = points.expand(len(flow), -1, -1)
    for turn in range(1 + TURNS):
        border = at.clamp(-end, end)
        places = 2 * torch.stack([border, 2 * border - at], 2)
        came, inward = F.grid_sample(flow, places, padding_mode="border", align_corners=False).unbind(3)
        new = points - (2 * came - inward).mT / sides
        at = (at + new) / 2 if turn else new  # halfway: else it swings where a thing gets much smaller
    return at


def outline(points: Points, sides: Tensor) -> Float[Tensor, "few 2"]:
    """Of pixels' middles those that are first or last in their row or column."""
    kept = []
    for along in (0, 1):
        line = ((points[:, 1 - along] + 0.5) * sides[1 - along]).floor().long()
        for end in ("amin", "amax"):
            furthest = torch.full((int(sides[1 - along]),), torch.nan)
            furthest = furthest.scatter_reduce(0, line, points[:, along], end, include_self=False)
            lines = (torch.arange(len(furthest)) + 0.5) / sides[1 - along] - 0.5
            both = [furthest, lines] if along == 0 else [lines, furthest]
            kept.append(torch.stack(both, 1)[~furthest.isnan()])
    return torch.cat(kept)
