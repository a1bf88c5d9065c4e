"""A thing stays inside what is shown of it: a motion that would take it over the edge goes less far on that side.

Drawn animations keep their things inside the frame; pictures as people bring them leave less room than those.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from sfv.decoding.decoder import Decoded
from sfv.decoding.directed import Body
from sfv.decoding.warping import Flow, Maps, moved, warped

NEAR, ACROSS = 0.005, 0.03
"""Shares of the frame's sides: a thing that lies so near to both edges reaches across the frame, as a flag does, and
may go over them so far, which is hardly seen."""
LEAST = 0.25
"""Share of its motion that a thing keeps at least, where it grows beyond the room there is."""
ROUNDED = 1e-6
"""Share of the frame's sides that may be rounding."""
TURNS = 2
"""Times a place's new place is corrected: a flow says where places of the frame come from, not where they go."""


def kept_inside(drawn: Decoded, picture: Maps, body: Body) -> Decoded:
    """The same clip, its thing inside the body's window, or over its edge as far as it lies at rest.

    `drawn` is one clip with its flow and mask, `picture` (1, 3 or 4, h, w) what it was made of. The way to each side is
    shortened in all frames alike; a thing that gets larger than its room moves less, to all sides. What is drawn is
    shifted along.
    """
    assert drawn.flow is not None and drawn.trust is not None
    flow = drawn.flow[0].float()
    less, back = corrections(flow, body)
    if less == 1 and not back.any():
        return drawn
    aside = (back * torch.tensor([flow.shape[3], flow.shape[2]])).float().to(flow.device)[:, :, None, None]
    ways = -aside.expand_as(flow)
    flow = less * warped(flow, ways) + ways
    again = moved(picture, flow)[None]
    if drawn.moved is None or float(drawn.trust.min()) == 1:
        return Decoded(again, again, torch.ones_like(drawn.trust), flow[None])
    rest, trust = (warped(v[0].float(), ways)[None] for v in (drawn.frames - drawn.trust * drawn.moved, drawn.trust))
    return Decoded(torch.addcmul(rest, trust, again), again, trust, flow[None])


def corrections(flow: Flow, body: Body) -> tuple[float, Float[Tensor, "n 2"]]:
    """How much of a flow (pixels) is kept, and how far every frame is then shifted, in shares of its sides (x, y)."""
    sides = torch.tensor([flow.shape[3], flow.shape[2]])
    low, high = torch.tensor(body.window[:2]), torch.tensor(body.window[2:])
    points = outline(body.points.float(), sides)
    half = 0.5 / sides
    first, last = points.amin(0) - half, points.amax(0) + half
    slack = torch.where((first - low < NEAR) & (high - last < NEAR), ACROSS, 0.0)
    low, high = torch.minimum(low, first) - slack, torch.maximum(high, last) + slack
    at = gone(flow.cpu(), points)
    before, after = first - (at.amin(1) - half), at.amax(1) + half - last  # beyond where it rests
    grown = (before + after).amax(0)
    less = float(((high - low - (last - first)) / grown.clamp(min=1e-6)).amin().clamp(LEAST, 1))
    back = torch.zeros(len(flow), 2)
    for way, room, sign in ((before, first - low, 1), (after, high - last, -1)):
        far = (less * way - ROUNDED).clamp(min=0)
        back += sign * (1 - room / far.amax(0).clamp(min=1e-6)).clamp(min=0) * far
    return less, back


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
    """Where each frame has places of the picture, in shares of the sides from the middle."""
    sides = torch.tensor([flow.shape[3], flow.shape[2]])
    at = points.expand(len(flow), -1, -1)
    for _ in range(1 + TURNS):
        came = F.grid_sample(flow, 2 * at[:, :, None], padding_mode="border", align_corners=False)
        at = points - came[..., 0].mT / sides
    return at
