"""A thing stays inside what is shown of it: a motion that would take it over the edge goes less far on that side.

Drawn animations keep their things inside the frame; pictures as people bring them leave less room than those.
"""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from sfv.decoding.decoder import Decoded
from sfv.decoding.directed import Body
from sfv.decoding.one_body import flow_of
from sfv.decoding.warping import Flow, Maps, moved, warped
from sfv.decoding.whereabouts import Points, gone, outline

SHRINK = 0.08
"""Share of its size by which a thing gets smaller, for the frames in which it is larger than its room."""
LEAST = 0.25
"""Share of its motion that a thing keeps at least, where that is not enough."""
BANNER = 3.0
"""Times as long as high, or as high as long, from which a thing may keep less: a tilt takes most of its size."""
CUT = 0.2
"""Share of a side that a thing covers which the picture cuts off there, as it does busts."""
ROUNDED = 1e-6
"""Share of the frame's sides that may be rounding."""
Corners = Float[Tensor, "n 2"]
Sides = Bool[Tensor, "2 2"]
"""Left and upper, right and lower."""


class Fit(NamedTuple):
    """What brings a moving thing inside its room."""

    less: float
    """Share of its motion that is left."""
    size: Float[Tensor, " n"]
    """Of each frame's thing, 1 and less, about `middle`."""
    middle: Corners
    shift: Corners
    """Places and ways are shares of the frame's sides (x, y) from its middle."""


def kept_inside(drawn: Decoded, picture: Maps, body: Body, cut: Sides, anchored: bool = True) -> Decoded:
    """The same clip, its thing inside the body's window.

    `drawn` is one clip with its flow and mask, `picture` (1, 3 or 4, h, w) what it was made of. The way to each side is
    shortened in all frames alike. A thing that gets larger than its room is made smaller for that moment; if that takes
    more than SHRINK, it moves less, to all sides. A thing that sides cut off (`cut`) may go over them, and is not
    lifted from one if it is `anchored`. What is drawn goes along.
    """
    assert drawn.flow is not None and drawn.trust is not None
    flow = drawn.flow[0].float()
    fit = fitting(flow, body, cut, anchored)
    if fit is None:
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


def fitting(flow: Flow, body: Body, cut: Sides, anchored: bool = True) -> Fit | None:
    """How a flow (pixels) is to be changed; None: not at all."""
    sides = torch.tensor([flow.shape[3], flow.shape[2]])
    points, half = outline(body.points.float(), sides), 0.5 / sides
    first, last = points.amin(0) - half, points.amax(0) + half
    edges = torch.tensor(body.window).view(2, 2)
    low, high = torch.minimum(edges[0], first), torch.maximum(edges[1], last)
    reach = flow.abs().amax((0, 2, 3)).cpu() / sides
    if bool((((first - reach >= low) | cut[0]) & ((last + reach <= high) | cut[1])).all()) and not cut.any():
        return None
    ways = gone(flow.cpu(), points) - points
    before, after = first - ((points + ways).amin(1) - half), (points + ways).amax(1) + half - last
    room = torch.where(cut.any(0), torch.inf, high - low)
    grown = (before + after).amax(0)  # beyond where it rests
    spans = (last - first) * sides
    least = LEAST if spans.max() < BANNER * spans.min() else 0.0
    less = float(((room / (1 - SHRINK) - (last - first)) / grown.clamp(min=ROUNDED)).amin().clamp(least, 1))
    starts, ends = first - less * before, last + less * after
    size = (room / (ends - starts - ROUNDED)).amin(1).clamp(max=1)
    middle, reach = (starts + ends) / 2, size[:, None] * (ends - starts) / 2
    starts, ends = middle - reach, middle + reach
    shift = _back(first - starts, first - low) * ~cut[0] - _back(ends - last, high - last) * ~cut[1]
    over = (low - starts - shift).clamp(min=0) * ~cut[0] - (ends + shift - high - ROUNDED).clamp(min=0) * ~cut[1]
    at = middle[:, None] + size[:, None, None] * (points + less * ways - middle[:, None])
    shift = shift + over
    if anchored:
        shift = shift + _covering(points, at + shift[:, None], cut & ~cut.flip(0), half)
    shift = torch.where(shift.abs() > ROUNDED, shift, 0.0)
    return Fit(less, size, middle, shift) if less < 1 or shift.any() or bool((size < 1).any()) else None


def cut_off(shares: Float[Tensor, "2 2"]) -> Sides:
    """Whether each side cuts a thing off, which is solid along `shares` of it.

    Not where it covers the other side, too, and one across: such a thing is as large as its picture, like a card.
    """
    covers = shares >= CUT
    return covers & ~(covers.flip(0) & covers.any(0).flip(0))


def _covering(points: Points, at: Float[Tensor, "n points 2"], cut: Sides, half: Tensor) -> Corners:
    """How far each frame is to be shifted so that what is cut off by a side still reaches it."""
    shift = torch.zeros(len(at), 2)
    for k, axis in cut.nonzero().tolist():
        sign = 2 * k - 1
        end = (sign * points[:, axis]).amax()
        there = sign * points[:, axis] > end - half[axis]
        shift[:, axis] += sign * (end - (sign * at[:, there, axis]).amin(1)).clamp(min=0)
    return shift


def _back(ways: Corners, room: Float[Tensor, " two"]) -> Corners:
    """How far ways to one side are to be taken back, each by one share of its own length."""
    far = (ways - ROUNDED).clamp(min=0)
    return (1 - room / far.amax(0).clamp(min=ROUNDED)).clamp(min=0) * far
