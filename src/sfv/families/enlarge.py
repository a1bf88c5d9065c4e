"""Clips larger than the network makes them: a guided decoder's flow moves a larger picture.

What moves is the picture itself, and a flow of whole pieces is as smooth at four times the size; only what was drawn
(and what a matte says beyond the moved picture's own alpha) is enlarged as it is.
"""

from collections.abc import Iterator

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from sfv.families.decoder import Drawn
from sfv.families.guide import moved, warped

Map = Float[Tensor, "1 c y x"]
Large = Float[Tensor, "1 c height width"]


def enlarged(drawn: Drawn, small: Map, large: Large, frames: Float[Tensor, "1 f c y x"]) -> Iterator[Large]:
    """Each of one clip's frames at the size of `large`, a frame at a time: memory is that of one.

    `small` is the same picture (or its alpha) at the clip's own size, `frames` are what was made of it there.
    """
    assert drawn.flow is not None
    times = large.shape[3] // small.shape[3]
    for flow, frame in zip(drawn.flow[0].float().split(1), frames[0].float().split(1), strict=True):
        beside = frame - moved(small, flow)
        yield warped(large, times * bigger(flow, times)) + bigger(beside, times)


def bigger(maps: Map, times: int) -> Large:
    """The same maps, enlarged."""
    return F.interpolate(maps, scale_factor=times, mode="bilinear", align_corners=False)
