"""A picture in its own shape inside the network's frame: how large the clip is, and what lies around the picture.

The network sees a frame of one shape. A picture of another shape is laid into its middle, over ground that is cut off
again: transparent around a sticker, around an opaque picture its own edge, drawn outward, or its plain ground.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from sfv.limits import whole_frame
from sfv.media import fit, fit_sticker, scaled
from sfv.media.grounds import beyond
from sfv.media.pictures import AnyPicture
from sfv.media.pixels import as_layers
from sfv.settings import LONGEST, Settings

Box = tuple[int, int, int, int]
"""Top, left, height, width."""


@dataclass(frozen=True)
class Framed:
    """The whole frame at the clip's scale, and where in it the clip is; None where the clip is all of it."""

    whole: AnyPicture
    box: Box | None


def framed(picture: AnyPicture, want: Settings, frame: tuple[int, int]) -> Framed:
    """(h, w, 3 or 4) uint8 -> the frame in which the network sees it; `frame` is that of the network."""
    if want.fit == "own":
        inside = scaled(picture, own_size(picture.shape[0], picture.shape[1], want, max(frame)))
    else:
        inside = _fitted(picture, asked_size(want, frame), want)
    h, w = inside.shape[:2]
    full = whole_frame((h, w), frame)
    if full == (h, w):
        return Framed(inside, None)
    top, left = (full[0] - h) // 2, (full[1] - w) // 2
    return Framed(_surrounded(inside, full, top, left), (top, left, h, w))


def own_size(height: int, width: int, want: Settings, frame: int) -> tuple[int, int]:
    """Of a clip of the picture's own shape: its longer side as asked for, else its own, at least the network's and at
    most 512; even."""
    longer = max(height, width)
    side = int(want.size) if want.size is not None else min(max(LONGEST, frame), max(frame, longer))
    return tuple(max(2, 2 * round(v * side / longer / 2)) for v in (height, width))  # type: ignore[return-value]


def asked_size(want: Settings, frame: tuple[int, int]) -> tuple[int, int]:
    """Of a clip whose shape does not come from the picture."""
    if want.size is None:
        return frame[0] * want.enlarge, frame[1] * want.enlarge
    height, _, width = want.size.partition("x")
    if width:
        return int(height), int(width)
    longer = max(frame)
    return frame[0] * int(height) // longer, frame[1] * int(height) // longer


def cut(pictures: Tensor, box: Box | None) -> Tensor:
    """(..., height, width, c) -> what the clip shows of it."""
    if box is None:
        return pictures
    top, left, height, width = box
    return pictures[..., top : top + height, left : left + width, :]


def _fitted(picture: AnyPicture, size: tuple[int, int], want: Settings) -> AnyPicture:
    mode = want.fit or "pad"
    if picture.shape[-1] == 4:
        return fit_sticker(picture, *size, mode)
    return fit(picture, *size, mode, want.background)


def _surrounded(inside: AnyPicture, full: tuple[int, int], top: int, left: int) -> AnyPicture:
    """On a larger ground: clear around what is clear somewhere, the plain ground of a thing that touches its border,
    else the edge drawn outward."""
    below, right = full[0] - top - inside.shape[0], full[1] - left - inside.shape[1]
    around = ((top, below), (left, right), (0, 0))
    ground = beyond(as_layers(inside))
    if ground is None:
        return torch.from_numpy(np.pad(inside.numpy(), around, mode="edge"))
    made = (ground[: inside.shape[-1]] * 127.5 + 127.5).round().to(torch.uint8).repeat(*full, 1)
    made[top : top + inside.shape[0], left : left + inside.shape[1]] = inside
    return made
