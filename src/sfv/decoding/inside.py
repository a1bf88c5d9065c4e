"""A thing stays inside what is shown of it: a motion that would take it over the edge goes less far on that side.

Drawn animations keep their things inside the frame; pictures as people bring them leave less room than those.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from sfv.decoding.decoder import Decoded
from sfv.decoding.directed import Body
from sfv.decoding.one_body import flow_of
from sfv.decoding.warping import Flow, Maps, moved, warped

SHRINK = 0.08
"""Share of its size by which a thing gets smaller, for the frames in which it is larger than its room."""
LEAST = 0.25
"""Share of its motion that a thing keeps at least, where that is not enough."""
ROUNDED = 1e-6
"""Share of the frame's sides that may be rounding."""
TURNS = 3
"""Times a place's new place is corrected: a flow says where places of the frame come from, not where they go."""
Corners = Float[Tensor, "n 2"]


class Fit(NamedTuple):
    """What brings a moving thing inside its room."""

    less: float
    """Share of its motion that is left."""
    size: Float[Tensor, " n"]
    """Of each frame's thing, 1 and less, about `middle`."""
    middle: Corners
    shift: Corners
    """Places and ways are shares of the frame's sides (x, y) from its middle."""


def kept_inside(drawn: Decoded, picture: Maps, body: Body) -> Decoded:
    """The same clip, its thing inside the body's window, or over its edge as far as it lies at rest.

    `drawn` is one clip with its flow and mask, `picture` (1, 3 or 4, h, w) what it was made of. The way to each side is
    shortened in all frames alike. A thing that gets larger than its room is made smaller for that moment; if that takes
    more than SHRINK, it moves less, to all sides. What is drawn goes along.
    """
    assert drawn.flow is not None and drawn.trust is not None
    flow = drawn.flow[0].float()
    fit = fitting(flow, body)
    if fit.less == 1 and not fit.shift.any() and bool((fit.size == 1).all()):
        return drawn
    wider = (1 / fit.size - 1)[:, None]
    start = -wider * fit.middle - fit.shift / fit.size[:, None]  # of a flow that is linear in the place
    maps = torch.stack([start, torch.cat([wider, 0 * wider], 1), torch.cat([0 * wider, wider], 1)], 1)
    ways = flow_of(maps.double(), flow.shape[2], flow.shape[3]).to(flow.device)
    flow = fit.less * warped(flow, ways) + ways
    again = moved(picture, flow)[None]
    if drawn.moved is None or float(drawn.trust.min()) == 1:
        return Decoded(again, again, torch.ones_like(drawn.trust), flow[None])
    rest, trust = (warped(v[0].float(), ways)[None] for v in (drawn.frames - drawn.trust * drawn.moved, drawn.trust))
    return Decoded(torch.addcmul(rest, trust, again), again, trust, flow[None])


def fitting(flow: Flow, body: Body) -> Fit:
    """How a flow (pixels) is to be changed."""
    sides = torch.tensor([flow.shape[3], flow.shape[2]])
    points, half = outline(body.points.float(), sides), 0.5 / sides
    first, last = points.amin(0) - half, points.amax(0) + half
    low, high = torch.minimum(torch.tensor(body.window[:2]), first), torch.maximum(torch.tensor(body.window[2:]), last)
    room, at = high - low, gone(flow.cpu(), points)
    before, after = first - (at.amin(1) - half), at.amax(1) + half - last  # beyond where it rests
    grown = (before + after).amax(0)
    less = float(((room / (1 - SHRINK) - (last - first)) / grown.clamp(min=ROUNDED)).amin().clamp(LEAST, 1))
    starts, ends = first - less * before, last + less * after
    size = (room / (ends - starts - ROUNDED)).amin(1).clamp(max=1)
    middle, reach = (starts + ends) / 2, size[:, None] * (ends - starts) / 2
    starts, ends = middle - reach, middle + reach
    shift = _back(first - starts, first - low) - _back(ends - last, high - last)
    shift = shift + (low - starts - shift).clamp(min=0) - (ends + shift - high - ROUNDED).clamp(min=0)
    return Fit(less, size, middle, torch.where(shift.abs() > ROUNDED, shift, 0.0))


def _back(ways: Corners, room: Float[Tensor, " two"]) -> Corners:
    """How far ways to one side are to be taken back, each by one share of its own length."""
    far = (ways - ROUNDED).clamp(min=0)
    return (1 - room / far.amax(0).clamp(min=ROUNDED)).clamp(min=0) * far


def outline(points: Float[Tensor, "points 2"], sides: Tensor) -> Float[Tensor, "few 2"]:
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


def gone(flow: Flow, points: Float[Tensor, "points 2"]) -> Float[Tensor, "n points 2"]:
    """Where each frame has places of the picture, in shares of the sides from the middle; beyond the frame its flow
    goes on as evenly as it comes to the border."""
    sides = torch.tensor([flow.shape[3], flow.shape[2]])
    end = 0.5 - 0.5 / sides
    at = points.expand(len(flow), -1, -1)
    for _ in range(1 + TURNS):
        border = at.clamp(-end, end)
        places = 2 * torch.stack([border, 2 * border - at], 2)
        came, inward = F.grid_sample(flow, places, padding_mode="border", align_corners=False).unbind(3)
        at = points - (2 * came - inward).mT / sides
    return at
