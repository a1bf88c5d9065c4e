"""Words for motion that a program carries out, over the network's own motion; which pictures they are for."""

import torch
from jaxtyping import Bool
from torch import Tensor

from sfv.decoding.directed import Body, body_of, carried, hardly_stretched, turns_only
from sfv.decoding.one_body import Affine, covered, flow_of
from sfv.decoding.warping import Flow
from sfv.errors import SfvError
from sfv.families.base import VideoModel
from sfv.generation.clip import Start, Still
from sfv.generation.fitting import first_pixels
from sfv.generation.stiff import ALIKE, fills_frame, ground_shades, is_clear, rim
from sfv.settings import Settings
from sfv.types import AnyFirst

STRETCHES = ("bounce", "pulse", "squash")
"""Words by which a body changes its shape or size."""
CUT_OUT = ("spin", "wave")
"""Words that only a thing on clear or plain ground can follow: all else would turn or bend with it."""
ENDLESS = (-9.0, -9.0, 9.0, 9.0)
"""A window by which nothing is cut."""
TOUCHING = 0.05
"""Share of an opaque picture's border that its thing may touch and still be cut out."""
VISIBLE = 0.05
"""Opacity from which a pixel belongs to the body."""


def check_move(model: VideoModel, want: Settings, still: Still, masked: bool) -> None:
    """SfvError for a word that this picture cannot follow."""
    if want.move not in CUT_OUT:
        return
    first = first_pixels(model, still)
    others = "shake, float, sway, nod, bounce, pulse and squash do not need that"
    if masked:
        raise SfvError(f"move {want.move}: what turns or bends as a whole cannot be held in part; leave the mask out")
    if fills_frame(first) or ground_shades(first):
        raise SfvError(f"move {want.move}: nothing stands out from a clear or plain ground in this picture; {others}")
    if not is_clear(first) and float(torch.cat([e.flatten() for e in _edges(_there(first))]).float().mean()) > TOUCHING:
        raise SfvError(f"move {want.move}: the thing in this picture reaches over its border; {others}")


def body_in(first: AnyFirst, still: Still) -> Body:
    """The thing in a fitted picture, and what is shown of the frame: no end where all of the picture is the thing."""
    if fills_frame(first) or ground_shades(first):
        return body_of(_there(first).cpu(), ENDLESS)
    height, width = still.large.shape[:2]
    top, left, h, w = still.box or (0, 0, height, width)
    window = (left / width - 0.5, top / height - 0.5, (left + w) / width - 0.5, (top + h) / height - 0.5)
    return body_of(_there(first).cpu(), window)


def held_to(word: str, maps: Affine, body: Body) -> Affine:
    """The network's motion as one body, of which sway and nod keep the turn alone; stretched where a word says so."""
    if word in ("sway", "nod"):
        return turns_only(maps, body.foot if word == "sway" else body.middle, body)
    return maps if word in STRETCHES else hardly_stretched(maps, body)


def carrying(start: Start, first: AnyFirst, times: Tensor, free: Tensor | None) -> Flow:
    """(n, 2, y, x): what the word adds at `times` (n,), shares of a round.

    `free` (y, x) is how far each place may move; None: all the way.
    """
    want, (y, x) = start.want, first.shape[2:]
    seconds = float(want.frames or 1) / float(want.fps or 1)
    body = body_in(first, start.still)
    flow = carried(want.move, times.cpu(), float(want.motion or 0), seconds, body, y, x)
    if fills_frame(first) and free is None:
        flow = flow_of(covered(flow), y, x)
    flow = flow.to(first.device)
    return flow if free is None else flow * free.to(first.device)


def _there(first: AnyFirst) -> Bool[Tensor, "y x"]:
    """Pixels of the thing: what is not clear; of an opaque picture, what is not of its border's colour."""
    if is_clear(first):
        return (first[0, 3] + 1) / 2 > VISIBLE
    if fills_frame(first) or ground_shades(first):
        return torch.ones_like(first[0, 0], dtype=torch.bool)
    ground = rim(first).median(1).values
    return ((first[0, :3].float() / 2 - ground[:, None, None]).abs().amax(0)) > ALIKE


def _edges(there: Bool[Tensor, "y x"]) -> tuple[Tensor, ...]:
    return there[0], there[-1], there[:, 0], there[:, -1]
