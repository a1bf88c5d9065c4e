"""Clips larger than the network makes them: a guided decoder's flow moves a larger picture.

What moves is the picture itself, and a flow of whole pieces is as smooth at four times the size; only what was drawn
(and what a matte adds to the moved picture's own alpha) is enlarged as it is.
"""

import math
from collections.abc import Callable, Iterator
from copy import copy

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from sfv.decoding.decoder import Decoded
from sfv.decoding.inside import Sides
from sfv.decoding.warping import Flow, Maps, moved, sharpened, warped

NEAR = 1e-3
"""Of a pixel: a window's edge that is so near to one between pixels is that."""
Map = Float[Tensor, "1 c y x"]
Large = Float[Tensor, "1 c height width"]
Window = tuple[float, float, float, float]
"""What is shown of a frame: left, top, right, bottom, in shares of its sides from its middle."""


def enlarged(drawn: Decoded, small: Map, large: Large, frames: Float[Tensor, "1 f c y x"]) -> Iterator[Large]:
    """Each of one clip's frames at the size of `large`, a frame at a time: memory is that of one.

    `small` is the same picture (or its alpha) at the clip's own size, `frames` are what was made of it there.
    """
    assert drawn.flow is not None
    size = large.shape[2], large.shape[3]
    for flow, frame in zip(drawn.flow[0].float().split(1), frames[0].float().split(1), strict=True):
        beside = frame - moved(small, flow)
        yield warped(large, bigger_flow(flow, size)) + bigger(beside, size)


class Layers:
    """One clip of a codec that moves its picture, taken apart: what is drawn, the mask, and the flow.

    A frame is drawn + mask * (the picture, moved by the flow), and nothing is drawn where the mask is 1. So a clip may
    be put together again from a larger picture, or at times between its frames.
    """

    beside: tuple[Tensor, Tensor] | None = None
    """What is drawn (f, c, y, x), and the mask (f, 1, y, x); None if frames are the picture, moved."""
    ends: tuple[Sides, Window] | None = None
    """At which sides of what is shown the picture goes on as it is there."""

    def __init__(self, drawn: Decoded, picture: Map) -> None:
        assert drawn.flow is not None and drawn.trust is not None
        trust, self.flow = drawn.trust[0].float(), drawn.flow[0].float()
        if bool((trust != 1).any()):
            there = moved(picture, self.flow) if drawn.moved is None else drawn.moved[0].float()
            self.beside = drawn.frames[0].float() - trust * there, trust

    def at(self, times: Float[Tensor, " n"]) -> "Layers":
        """At places around the round, in frames: every part is linear between neighbours, the last and the first among
        them, so what moves is moved part of the way."""
        f = len(self.flow)
        before = times.floor()
        share = (times - before)[:, None, None, None]
        one, other = ((k % f).long() for k in (before, before + 1))

        def between(part: Tensor) -> Tensor:
            return torch.lerp(part[one], part[other], share)

        return self._changed(between(self.flow), between)

    def carried(self, flow: Float[Tensor, "n 2 y x"], even: bool = False) -> "Layers":
        """With another motion over its own: each frame is taken from where `flow` says, in pixels. Beyond the frame
        its own is as at the border, or goes on as evenly as it comes to it: as a turn does."""
        before = (evenly if even else warped)(self.flow, flow)
        return self._changed(flow + before, lambda part: warped(part, flow))

    def stopped(self, sides: Sides, window: Window) -> "Layers":
        """With a picture that goes on as it is at the border of what is shown of it, beyond some sides (left and upper,
        right and lower)."""
        other = copy(self)
        other.flow = self.flow.clone()
        for k, axis in sides.nonzero().tolist():
            size = self.flow.shape[3 - axis]
            at = torch.arange(size, device=self.flow.device).view((1, -1) if axis == 0 else (-1, 1))
            first, last = within(window, axis, size)
            way = other.flow[:, axis]
            other.flow[:, axis] = (
                torch.minimum(way, (last - at).clamp(min=0)) if k else torch.maximum(way, (first - at).clamp(max=0))
            )
        other.ends = sides, window
        return other

    def _source(self, picture: Large, same: bool) -> Maps:
        """What is sampled: of a picture that goes on, beyond the part shown, too, so that its border is not sharpened
        against what lies there."""
        if same and self.ends is not None:
            sides, window = self.ends
            for k, axis in sides.nonzero().tolist():
                size = picture.shape[3 - axis]
                at = torch.arange(size, device=picture.device)
                first, last = within(window, axis, size)
                picture = picture.index_select(3 - axis, at.clamp(max=last) if k else at.clamp(min=first))
        return sharpened(picture) if same else picture

    def _changed(self, flow: Flow, change: Callable[[Tensor], Tensor]) -> "Layers":
        """With another flow, and what is drawn changed."""
        other = copy(self)
        other.flow = flow
        if self.beside is not None:
            drawn, mask = self.beside
            other.beside = change(drawn), change(mask)
        return other

    def over(
        self,
        picture: Large,
        few: int = 8,
        changed: Callable[[int, Large], Large] | None = None,
        beyond: Tensor | None = None,
    ) -> Iterator[Float[Tensor, "_ c height width"]]:
        """Frames made of a picture of this or a larger size, a few at a time: memory is theirs.

        `changed(k, picture)` is what frame k is made of instead: the picture itself, or another of its size. Beyond its
        border the picture is `beyond` (c,), or goes on as its border is.
        """
        size = picture.shape[2], picture.shape[3]
        same, nothing = size == tuple(self.flow.shape[2:]), None if beyond is None else beyond[:, None, None]
        sharp = self._source(picture, same)
        for at in torch.arange(len(self.flow)).split(few):
            flow = self.flow[at] if same else bigger_flow(self.flow[at], size)
            each = [picture] if changed is None else [changed(k, picture) for k in at.tolist()]
            source = sharp
            if not all(p is picture for p in each):
                other = {id(p): self._source(p, same) for p in each if p is not picture}
                source = torch.cat([other.get(id(p), sharp) for p in each])
            there = warped(source, flow) if nothing is None else warped(source - nothing, flow, "zeros") + nothing
            if self.beside is not None:
                drawn, mask = (v[at] if same else bigger(v[at], size) for v in self.beside)
                there = torch.addcmul(drawn, mask, there)
            yield there


def evenly(maps: Flow, flow: Flow) -> Flow:
    """Maps as `warped` has them, which beyond the border go on as evenly as they come to it."""
    y, x = flow.shape[2:]
    rows, columns = (torch.arange(side, device=flow.device) for side in (y, x))
    over = torch.stack(
        [v - v.clamp(0, side - 1) for v, side in ((columns + flow[:, 0], x), (rows[:, None] + flow[:, 1], y))], 1
    )
    border = warped(maps, flow)
    return 2 * border - warped(maps, flow - 2 * over) if bool(over.any()) else border


def within(window: Window, axis: int, size: int) -> tuple[int, int]:
    """First and last pixel, of `size` along an axis (0: x, 1: y), that lie in a window."""
    low, high = (min(max((window[axis + 2 * end] + 0.5) * size, 0), size) for end in (0, 1))
    return math.ceil(low - NEAR), math.floor(high + NEAR) - 1


def bigger(maps: Float[Tensor, "n c y x"], size: tuple[int, int]) -> Float[Tensor, "n c height width"]:
    """The same maps, enlarged."""
    return F.interpolate(maps, size, mode="bilinear", align_corners=False)


def bigger_flow(flow: Float[Tensor, "n 2 y x"], size: tuple[int, int]) -> Float[Tensor, "n 2 height width"]:
    """A flow in pixels (x, y), enlarged with what it moves."""
    times = torch.tensor([size[1] / flow.shape[3], size[0] / flow.shape[2]], device=flow.device)
    return bigger(flow, size) * times[:, None, None]
