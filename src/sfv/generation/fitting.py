"""A picture and a request made to fit the model."""

import torch

from sfv import limits
from sfv.errors import SfvError
from sfv.families.base import VideoModel
from sfv.generation.clip import Still
from sfv.generation.framing import framed
from sfv.media import fit, fit_sticker, over_white
from sfv.media.pictures import Uint8Picture, Uint8Sticker
from sfv.media.pixels import as_layers, as_pixels
from sfv.settings import Settings
from sfv.types import AnyFirst


def fitted(picture: Uint8Picture | Uint8Sticker, want: Settings, model: VideoModel) -> Still:
    """The picture at the network's size and at the clip's; where they differ, the former is made of the latter."""
    _check(picture)
    frame, source = (whole(want.height), whole(want.width)), (picture.shape[0], picture.shape[1])
    if picture.shape[-1] != (4 if want.transparent else 3):
        if want.transparent:
            raise SfvError("transparent needs a picture with an alpha channel (h, w, 4); read it with read_sticker")
        raise SfvError("the picture has an alpha channel; ask for transparent=True, or read it with read_picture")
    seen = framed(picture, want, frame)
    if not want.transparent:
        small = seen.whole if seen.whole.shape[:2] == frame else fit(seen.whole, *frame)
        return Still(small, None, seen.whole, None, seen.box, source)
    sticker = seen.whole if seen.whole.shape[:2] == frame else fit_sticker(seen.whole, *frame)
    return Still(over_white(sticker), sticker, over_white(seen.whole), seen.whole, seen.box, source)


def _check(picture: Uint8Picture | Uint8Sticker) -> None:
    """SfvError for what is no picture."""
    if not isinstance(picture, torch.Tensor):
        given = type(picture).__name__
        raise SfvError(f"the picture is a {given}, not a torch tensor; read a file with read_picture or read_sticker")
    if picture.ndim == 3 and picture.shape[2] in (3, 4) and picture.dtype == torch.uint8 and picture.numel():
        return
    found = f"{str(picture.dtype).removeprefix('torch.')} of shape {tuple(picture.shape)}"
    raise SfvError(
        f"the picture is {found}; give uint8 of (height, width, 3 or 4), as read_picture and read_sticker do"
    )


def resolve(settings: Settings, model: VideoModel) -> Settings:
    """Every open field filled from the model; SfvError for what it cannot make."""
    return limits.resolve(settings, model.limits)


def first_pixels(model: VideoModel, still: Still) -> AnyFirst:
    """The fitted picture as the model's codec takes it, (1, 3 or 4, h, w) in [-1, 1], where the model is."""
    if model.codec.channels == 4:
        return as_layers(still.small if still.sticker is None else still.sticker, model.device)
    return as_pixels(still.small, model.device)


def whole(value: float | None) -> int:
    """A setting that `resolve` has filled, as a whole number."""
    assert value is not None
    return int(value)
