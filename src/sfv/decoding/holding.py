"""What keeps still in a clip made by moving its picture: the motion fades toward it, so that nothing is seen twice."""

import torch
from jaxtyping import Float
from torch import Tensor

from sfv.decoding.decoder import Decoded
from sfv.decoding.warping import Maps, moved

HELD, FADE = 2, 0.1
"""Pixels of the border that stay, and the share of the shorter side over which the motion comes in."""


def held(drawn: Decoded, picture: Maps, weights: Float[Tensor, "h w"]) -> Decoded:
    """The same clip; where `weights` are 1 its flow is 0 and nothing is drawn, so the picture's own pixels stay.

    `drawn` is one clip with its flow and mask, `picture` (1, 3 or 4, h, w) what it was made of.
    """
    assert drawn.flow is not None and drawn.trust is not None
    there = moved(picture, drawn.flow[0].float())[None] if drawn.moved is None else drawn.moved.float()
    free = 1 - weights.to(picture.device)
    rest = (drawn.frames.float() - drawn.trust * there) * free
    flow, trust = drawn.flow * free, 1 - (1 - drawn.trust) * free
    again = moved(picture, flow[0].float())[None]
    return Decoded(torch.addcmul(rest, trust, again), again, trust, flow)


def border(height: int, width: int) -> Float[Tensor, "h w"]:
    """Weights that hold a frame's border: 1 on its outer pixels, 0 from FADE of its shorter side inward."""
    rows, columns = (torch.minimum(torch.arange(s), s - 1 - torch.arange(s)).float() for s in (height, width))
    inward = torch.minimum(rows[:, None], columns[None])
    return (1 - (inward - HELD) / (FADE * min(height, width))).clamp(0, 1)
