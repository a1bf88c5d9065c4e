"""Whether a picture is moved as one body, where that is left to the model."""

import torch

from sfv.families.base import VideoModel
from sfv.generation.clip import Still
from sfv.generation.fitting import first_pixels
from sfv.media.pixels import as_layers
from sfv.settings import Settings
from sfv.types import AnyFirst

RIM = 2
"""Pixels of the border that are looked at."""
ALIKE = 24 / 255
"""Levels within which a border is of one colour, of 1."""
PLAIN = 0.6
"""Share of the border that must be alike for the picture to lie on a ground."""


@torch.inference_mode()
def settled(model: VideoModel, want: Settings, still: Still) -> Settings:
    """`stiff` as on or off: on where a word for motion is given, and for pictures that fill their frame (photos).

    Else as the model's own network says.
    Off for models whose decoder does not move the picture, and, on a ground, for those without such a network.
    """
    if want.stiff != "auto":
        return want
    if want.move != "free" and model.enlarges(want.decoder):
        return want.model_copy(update={"stiff": "on"})
    if not model.enlarges(want.decoder) or model.stiffness is None:
        return want.model_copy(update={"stiff": "off"})
    first = first_pixels(model, still)
    if first.shape[1] == 3:
        first = as_layers(still.small, model.device)
    stiff = fills_frame(first) or float(model.stiffness(first)) > 0
    return want.model_copy(update={"stiff": "on" if stiff else "off"})


def fills_frame(first: AnyFirst) -> bool:
    """Whether a picture (1, 3 or 4, h, w in [-1, 1]) goes on to its border, instead of lying on a ground or in the
    clear: such a one is moved with its border outside the frame."""
    if first.shape[1] == 4 and float((first[:, 3:] > 0).float().mean()) < 1:
        return False
    rims = (first[..., :RIM, :], first[..., -RIM:, :], first[..., :RIM].mT, first[..., -RIM:].mT)
    rim = torch.cat([part[0, :3].flatten(1) for part in rims], 1).float() / 2
    far = (rim - rim.median(1, keepdim=True).values).abs().amax(0)
    return float((far < ALIKE).float().mean()) < PLAIN
