"""An arrow on the picture: what lies at its start goes to its end and back, once a round.

Places are those of decoding/directed.py: shares of the frame's sides, from its middle, (x, y), y downward.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from sfv.decoding.directed import Body, Times, turned
from sfv.decoding.one_body import flow_of, grid
from sfv.decoding.warping import Flow
from sfv.decoding.whereabouts import Places

REACH = 0.2
"""Share of a body's longer side within which a soft thing follows (one standard deviation)."""
GENTLE = 1.0
"""Lengths of the arrow that this is at least: below 0.61 the picture would be folded."""
SMALLER = 0.8
"""Share of its size to which a stiff body may shrink for room; it goes less far if that is not enough."""


@dataclass(frozen=True)
class Arrow:
    """From where to where."""

    start: tuple[float, float]
    end: tuple[float, float]


def dragged(arrow: Arrow, times: Times, body: Body, y: int, x: int, whole: bool, places: Places | None = None) -> Flow:
    """(n, 2, y, x) pixels: where each place of frames at `times` is taken from.

    `whole`: the body, which is in `places` by then (or rests), shifts as it is, a little smaller or less far where the
    window would cut it. Else what is near the arrow's start follows, less with the distance, and the rest stays.
    """
    body = body.off_the_edge(y, x)
    begin, end = (torch.tensor(place, dtype=torch.float64) for place in (arrow.start, arrow.end))
    way = end - begin
    course = ((1 - (2 * math.pi * times.double()).cos()) / 2)[:, None]
    if whole:
        still = torch.zeros(len(course), dtype=torch.float64)
        where = None if places is None else places.to(still)
        return flow_of(turned(still, course * _with_room(way, body), body.middle, body, where), y, x)
    gone = course * way
    sides = torch.tensor([body.aspect, 1.0], dtype=torch.float64)
    longer = float(((body.points.amax(0) - body.points.amin(0)) * sides).max())
    width = max(REACH * longer, GENTLE * float((way * sides).norm()))
    places = grid(y, x, times.device)[:, 1:].unflatten(0, (y, x))
    off = (places - (begin + gone)[:, None, None]) * sides
    near = (-off.square().sum(-1) / (2 * width**2)).exp()
    pixels = torch.tensor([x, y], dtype=torch.float64)
    return (-near[:, None] * (gone * pixels)[:, :, None, None]).float()


def _with_room(way: Float[Tensor, " two"], body: Body) -> Float[Tensor, " two"]:
    """As much of a way as a body may go that is SMALLER."""
    left, top, right, bottom = body.window
    low = torch.tensor([left, top]) - body.middle + SMALLER * (body.middle - body.points.amin(0))
    high = torch.tensor([right, bottom]) - body.middle - SMALLER * (body.points.amax(0) - body.middle)
    return way.clamp(low.clamp(max=0), high.clamp(min=0))
