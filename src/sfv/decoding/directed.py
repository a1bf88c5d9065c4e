"""Motion that a word asks for: a body that turns, shifts or bends by a program, at any time of a round.

Places are shares of the frame's sides, from its middle, (x, y), y downward. A body's motion takes a place p of the
picture to c + s R (p - c) + d; flows say the other way, from where in the picture a place of the frame is taken. At
time 0 nothing has moved, and the end of a round meets its begin.
"""

import math
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from sfv.decoding.one_body import Affine, flow_of
from sfv.decoding.warping import Flow
from sfv.decoding.whereabouts import Places, gone

Times = Float[Tensor, " n"]
"""Shares of a round."""
SHAKE, SHAKES_A_SECOND = 0.038, 2.5
"""Share of the frame's width to either side; these sizes and the next are those at a model's usual motion."""
FLOAT, LEAN = 0.063, math.radians(3.8)
"""Share of the frame's height up and down; how far a thing leans as it floats."""
BEND, WAVELENGTHS, ROUNDS = 0.088, 1.0, 2
"""Of a wave: share of the body's height to either side, how many lie along the body, how often one runs through."""
LEAST = math.radians(5)
"""To which a turn that is asked for goes at least, where the network turns less."""
HOP = 0.07
"""Share of the frame's height to which a hop goes at least, where the network's is lower, and half of the highest."""
STRETCH = 0.12
"""Logarithm of how much longer or shorter a stiff body gets along any direction, where that is not what was asked."""
FEW = 500
"""Places of a body that are looked at to find the one that moves least."""
SMALLEST = 0.3
"""Share of its size to which a body may shrink for room."""
SHRINK = 0.1
"""Share of its size by which a body gets smaller for room as it shakes or floats; it goes less far if that is not
enough."""
LEAST_LEAN, FAINT = 0.25, 1e-6
"""Share of a lean that is left at least, and of the frame's sides by which a way is none."""
MARGIN = 1.5
"""Pixels of the frame between the window's edge and the middles of a body's outermost ones, unless it rests nearer."""


@dataclass(frozen=True)
class Body:
    """The thing that moves, and the part of the frame that is shown."""

    points: Float[Tensor, "points 2"]
    """Places that belong to it."""
    window: tuple[float, float, float, float]
    """Left, top, right, bottom."""
    aspect: float
    """The frame's width over its height."""

    @property
    def middle(self) -> Float[Tensor, " two"]:
        """Of its bounding box."""
        return (self.points.amax(0) + self.points.amin(0)) / 2

    @property
    def foot(self) -> Float[Tensor, " two"]:
        """The middle of its lower edge."""
        return torch.stack([self.middle[0], self.points[:, 1].max()])

    @property
    def height(self) -> float:
        """Share of the frame's height."""
        return float(self.points[:, 1].max() - self.points[:, 1].min())

    def off_the_edge(self, y: int, x: int) -> "Body":
        """The same body in a window with a MARGIN, in a frame of y x x pixels."""
        left, top, right, bottom = self.window
        margin, low, high = MARGIN / torch.tensor([x, y]), self.points.amin(0), self.points.amax(0)
        low = torch.minimum(torch.tensor([left, top]) + margin, low)
        high = torch.maximum(torch.tensor([right, bottom]) - margin, high)
        return replace(self, window=(*low.tolist(), *high.tolist()))


ENDLESS = (-9.0, -9.0, 9.0, 9.0)
"""A window by which nothing is cut."""


def body_of(there: Bool[Tensor, "y x"], box: tuple[float, float, float, float]) -> Body:
    """A body of the pixels in the window that belong to it, of all of the window's if there are none, and of the
    whole frame, not cut by it, if the window holds none at all; `box` is the window."""
    y, x = there.shape
    low, high = (torch.tensor(side, dtype=torch.float64) for side in (box[:2], box[2:]))
    for pixels in (there, torch.ones_like(there)):
        at = pixels.nonzero().double()
        points = torch.stack([(at[:, 1] + 0.5) / x - 0.5, (at[:, 0] + 0.5) / y - 0.5], 1)
        if len(seen := points[((points > low) & (points < high)).all(1)]):
            return Body(seen, box, x / y)
    return Body(points, ENDLESS, x / y)


def carried(
    word: str, times: Times, much: float, seconds: float, body: Body, y: int, x: int, places: Places | None = None
) -> Flow:
    """(n, 2, y, x) pixels: where each place of frames at `times` is taken from, by shake, spin, float or wave.

    `much` is 1 at a model's usual motion. The body, which is in `places` by then (where it rests, if they are not
    given), stays in the window.
    """
    round_, body = 2 * math.pi * times.double(), body.off_the_edge(y, x)
    places = body.points.expand(len(times), -1, -1) if places is None else places.to(body.points)
    if word == "wave":
        return _wave(times.double(), much, body, y, x, places)
    angle, shift = torch.zeros_like(round_), torch.zeros(len(times), 2, dtype=torch.float64)
    if word == "shake":
        swings = max(1, min(round(SHAKES_A_SECOND * seconds), len(times) // 6))
        shift[:, 0] = SHAKE * much * (swings * round_).sin()
    elif word == "float":
        shift[:, 1] = -FLOAT * much * round_.sin()
        angle = _leaning(LEAN * much * (2 * round_).sin(), body, places)
    else:  # spin
        angle = round_
    if word != "spin":
        shift = _shortened(angle, shift, body, places)
    return flow_of(turned(angle, shift, body.middle, body, places), y, x)


def taken(word: str, flow: Flow, places: Places) -> Places:
    """Where such a flow of `carried` takes places. Of all words but wave it is linear in the place."""
    if word == "wave":
        return gone(flow, places.float())
    y, x = flow.shape[2:]
    sides = torch.tensor([x, y], dtype=torch.float64)
    start = 0.5 / sides - 0.5
    corner, right, below = (flow[:, :, i, j].double() / sides for i, j in ((0, 0), (0, -1), (-1, 0)))
    slopes = torch.stack([(right - corner) / (1 - 1 / x), (below - corner) / (1 - 1 / y)], 1)  # by column, by row
    back = torch.eye(2, dtype=torch.float64) + slopes
    return (places.double() - (corner - start @ slopes)[:, None]) @ torch.linalg.inv(back)


def _leaning(angle: Tensor, body: Body, places: Places) -> Tensor:
    """As much of a lean as leaves half of SHRINK for the way; the same share in all frames."""
    left, top, right, bottom = body.window
    room = torch.tensor([right - left, bottom - top]) / (1 - SHRINK / 2)
    wide, whole = (_extent(a, body, places) for a in (0 * angle, angle))
    share = (room - wide) / (whole - wide).clamp(min=1e-9)
    return angle * share.clamp(LEAST_LEAN, 1).min()


def _extent(angle: Tensor, body: Body, places: Places) -> Float[Tensor, "n 2"]:
    away = (places - body.middle) @ _turns(angle, body.aspect).mT
    return away.amax(1) - away.amin(1)


def _shortened(angle: Tensor, shift: Float[Tensor, "n 2"], body: Body, places: Places) -> Float[Tensor, "n 2"]:
    """Ways on which a body stays in the window that is smaller by SHRINK: those to each side by one share in all
    frames, so that none stops there."""
    away = (places - body.middle) @ _turns(angle, body.aspect).mT
    left, top, right, bottom = body.window
    low = torch.tensor([left, top]) - body.middle - (1 - SHRINK) * away.amin(1)
    high = torch.tensor([right, bottom]) - body.middle - (1 - SHRINK) * away.amax(1)
    shares = torch.where(shift.abs() > FAINT, torch.where(shift < 0, low, high) / shift, 1).clamp(0, 1)
    before, after = (torch.where(there, shares, 1).amin(0) for there in (shift < 0, shift > 0))
    return torch.where(shift < 0, before, after) * shift


def turned(
    angle: Tensor,
    shift: Float[Tensor, "n 2"],
    centre: Float[Tensor, " two"],
    body: Body,
    places: Places | None = None,
) -> Affine:
    """Flows of a body that turns by `angle` (radians, clockwise as seen) about `centre` and shifts, both (n,).

    It is made smaller, frame by frame, where the window would cut it; it is in `places` before, or rests.
    """
    turn, points = _turns(angle, body.aspect), body.points if places is None else places
    away = (points - centre) @ turn.mT
    size = _fitting(away, centre + shift, body.window)
    back = _turns(-angle, body.aspect) / size[:, None, None]
    start = centre - torch.einsum("nij,nj->ni", back, centre + shift)
    return torch.cat([start[:, None], back.mT - torch.eye(2, dtype=back.dtype)], 1)


def _turns(angle: Float[Tensor, " n"], aspect: float) -> Float[Tensor, "n 2 2"]:
    """Turns of pixels, as matrices of shares of sides."""
    c, s = angle.cos(), angle.sin()
    return torch.stack([c, -s / aspect, s * aspect, c], -1).view(-1, 2, 2)


def _fitting(away: Tensor, at: Tensor, window: tuple[float, float, float, float]) -> Float[Tensor, " n"]:
    """The largest size, at most 1, at which points `away` (n, p, 2) from `at` (n, 2) lie in the window."""
    left, top, right, bottom = window
    low = (at - torch.tensor([left, top])) / (-away.amin(1)).clamp(min=1e-6)
    high = (torch.tensor([right, bottom]) - at) / away.amax(1).clamp(min=1e-6)
    return torch.cat([low, high], 1).amin(1).clamp(SMALLEST, 1)


def _wave(times: Times, much: float, body: Body, y: int, x: int, places: Places) -> Flow:
    """A bend that runs up through the body, whose foot stays; it swells and ebbs once a round."""
    rows = (torch.arange(y).double() + 0.5) / y - 0.5
    up = ((body.foot[1] - rows) / max(body.height, 1e-6)).clamp(0, 1.2)
    reach = BEND * much * body.height / body.aspect
    swell = (math.pi * times).sin() ** 2
    bend = (2 * math.pi * (WAVELENGTHS * up - ROUNDS * times[:, None])).sin()
    aside = reach * swell[:, None] * up.sqrt() * bend
    wide, further = places[..., 0] - body.middle[0], reach * swell
    room = torch.stack([wide.amin(1) - further, wide.amax(1) + further], 1)  # of the furthest bend
    size = _fitting(torch.stack([room, torch.zeros_like(room)], -1), body.middle.expand(len(times), 2), body.window)
    back = torch.diag_embed((1 / size)[:, None].expand(-1, 2))
    start = body.foot - torch.einsum("nij,j->ni", back, body.foot)
    flow = flow_of(torch.cat([start[:, None], back - torch.eye(2, dtype=back.dtype)], 1), y, x)
    flow[:, 0] -= (x * aside / size[:, None]).float()[..., None]
    return flow


def turns_only(maps: Affine, pivot: Float[Tensor, " two"], body: Body) -> Affine:
    """Of a body's motion only its turn about a pivot, by least squares; at least LEAST at its furthest.

    For words whose motion the network does not always give: it says when and how far, the word says what.
    """
    reach = torch.tensor([body.aspect, 1.0], dtype=torch.float64)
    off = (body.points - pivot) * reach
    one = torch.cat([torch.ones(len(off), 1, dtype=torch.float64), body.points], 1)
    along = torch.einsum("pk,nkj->npj", one, maps.double().cpu()) * reach
    turn = torch.stack([off[:, 1], -off[:, 0]], 1)  # the flow of a small turn clockwise
    angle = (along * turn).sum((1, 2)) / turn.square().sum().clamp(min=1e-9)
    furthest = float(angle.abs().max())
    if furthest > 1e-3:
        angle = angle * max(1.0, LEAST / furthest)
    still = torch.zeros(len(angle), 2, dtype=torch.float64)
    return turned(angle, still, pivot, body).to(maps.device)


def hops_only(maps: Affine, body: Body) -> Affine:
    """Of a body's motion only how far its middle is lifted; at least HOP at its highest, at most twice that."""
    middle = torch.cat([torch.ones(1, dtype=torch.float64), body.middle.double()])
    lift = torch.einsum("k,nkj->nj", middle, maps.double().cpu())[:, 1].clamp(min=0)
    highest = float(lift.max())
    if highest > 1e-3:
        lift = lift * (min(max(highest, HOP), 2 * HOP) / highest)
    shift = torch.stack([torch.zeros_like(lift), -lift], 1)
    return turned(torch.zeros_like(lift), shift, body.middle, body).to(maps.device)


def hardly_stretched(maps: Affine, body: Body) -> Affine:
    """A body's motion that stretches and leans by less than STRETCH, about the place that moves least; turns stay.

    Small stretches stay too: a logarithm l of one becomes STRETCH tanh(l / STRETCH).
    """
    sides = torch.tensor([body.aspect, 1.0], dtype=torch.float64)
    points = body.points[:: max(1, len(body.points) // FEW)]
    one = torch.cat([torch.ones(len(points), 1, dtype=torch.float64), points], 1)
    given = maps.double().cpu()
    moved = (torch.einsum("pk,nkj->npj", one, given) * sides).square().sum(2).mean(0)
    pivot = points[moved.argmin()]
    before = given[:, 1:].mT
    u, sizes, v = torch.linalg.svd(torch.eye(2) + before * sides[:, None] / sides)
    sizes = (STRETCH * (sizes.clamp(min=1e-3).log() / STRETCH).tanh()).exp()
    after = (u * sizes[:, None]) @ v * sides / sides[:, None] - torch.eye(2)
    start = given[:, 0] + torch.einsum("nij,j->ni", before - after, pivot)
    return torch.cat([start[:, None], after.mT], 1).to(maps.device)
