"""What keeps still in a clip made by moving its picture: the motion fades toward it, so that nothing is seen twice."""

import torch
from jaxtyping import Float
from torch import Tensor

from sfv.decoding.decoder import Decoded
from sfv.decoding.warping import Maps, moved


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
