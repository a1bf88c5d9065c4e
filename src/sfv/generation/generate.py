"""A still becomes a moving picture: picture -> Cond -> noise -> ONE network call -> decode -> frames."""

from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any

import torch
from jaxtyping import UInt8
from pydantic import ValidationError
from torch import Tensor

from sfv.errors import SfvError
from sfv.families.base import VideoModel
from sfv.generation.clip import Clip, Start
from sfv.generation.directing import arrow_in, check_arrow, check_move, with_eyes
from sfv.generation.finishing import edited, made_of
from sfv.generation.fitting import first_pixels, fitted, resolve
from sfv.generation.framing import cut
from sfv.generation.sampling import Peek, Watch, condition, knobs, sample
from sfv.generation.stiff import settled, softness, strength
from sfv.media import fit_mask
from sfv.media.pictures import AnyPicture, Uint8Picture, Uint8Sticker
from sfv.settings import Settings
from sfv.system.timing import clocked_stage
from sfv.types import Cond

MaskPicture = UInt8[Tensor, "mh mw 3"]
"""A picture of what keeps still (white) and what moves (black)."""


@torch.inference_mode()
def generate(
    model: VideoModel,
    picture: Uint8Picture | Uint8Sticker,
    settings: Settings | None = None,
    watch: Watch | None = None,
    keep_still: MaskPicture | None = None,
    **changes: Any,
) -> Clip:
    """Animate one picture (h, w, 3 uint8 RGB, any size; h, w, 4 RGBA for a transparent clip).

    `changes` are fields of Settings: generate(model, picture, seed=3). `watch(done, steps)` is called after
    every network call. `keep_still` is a picture of the same shape that is white where nothing may move.
    Raises SfvError for impossible settings.
    """
    if not isinstance(model, VideoModel):
        raise SfvError(f"the model is a {type(model).__name__}; open one with sfv.load")
    if not isinstance(settings, Settings | None):
        raise SfvError(f"settings is a {type(settings).__name__}; give Settings, or its fields by name, as in seed=3")
    if watch is not None and not callable(watch):
        raise SfvError(f"watch is a {type(watch).__name__}; give a function of (done, steps)")
    start = begin(model, picture, (settings or Settings()).model_dump() | changes, keep_still)
    seconds: dict[str, float] = {}
    return finish(model, start, encoded(model, start, seconds), seconds, watch)


@torch.inference_mode()
def again(
    model: VideoModel,
    picture: Uint8Picture | Uint8Sticker,
    settings: Settings,
    mask: MaskPicture | None,
    drawn_on: tuple[int, int] | None,
) -> Clip:
    """The clip of a picture that was fitted already; its arrow was drawn on one of height and width `drawn_on`."""
    start = begin(model, picture, settings.model_dump(), mask, drawn_on)
    seconds: dict[str, float] = {}
    return finish(model, start, encoded(model, start, seconds), seconds)


def begin(
    model: VideoModel,
    picture: Uint8Picture | Uint8Sticker,
    changes: dict[str, Any],
    mask: MaskPicture | None = None,
    drawn_on: tuple[int, int] | None = None,
) -> Start:
    """Settings filled from the model, picture and mask fitted. Raises SfvError for impossible ones.

    `drawn_on` is the size of the picture that an arrow is on, if this one was fitted already.
    """
    want = resolve(checked(changes), model)
    check_mask(mask)
    still = fitted(picture, want, model)
    still = still if drawn_on is None else replace(still, source=drawn_on)
    judged = settled(model, want, still)
    check_move(model, want, still, mask is not None)
    source, shown = (picture.shape[0], picture.shape[1]), cut(still.large, still.box)
    kept = None if mask is None else fit_mask(mask, source, (shown.shape[0], shown.shape[1]), want.fit or "pad")
    arrow = arrow_in(want, drawn_on or source, still)
    want, eyes = with_eyes(model, judged, still, kept)
    much = strength(float(want.motion or 0), model.defaults.motion)
    start = Start(want, still, kept, arrow, eyes, judged.motion, softness(judged.logit), much)
    check_arrow(model, start)
    return start


def checked(changes: dict[str, Any]) -> Settings:
    """Fields of Settings by name, as Settings. SfvError with the field for a value that is impossible."""
    try:
        return Settings.model_validate(changes)
    except ValidationError as error:
        first = error.errors()[0]
        message = first["msg"].removeprefix("Value error, ")
        field = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            raise SfvError(f"{field} is no setting; choose from {', '.join(Settings.model_fields)}") from error
        where = f"{field} {first['input']!r}: " if field else ""
        raise SfvError(where + message[0].lower() + message[1:]) from error


def check_mask(mask: Tensor | None) -> None:
    """SfvError for what is no RGB picture."""
    if mask is not None and not isinstance(mask, Tensor):
        given = type(mask).__name__
        raise SfvError(f"keep_still is a {given}, not a torch tensor; read a file with read_picture")
    if mask is not None and (mask.ndim != 3 or mask.shape[2] != 3 or mask.dtype != torch.uint8 or not mask.numel()):
        found = f"{str(mask.dtype).removeprefix('torch.')} of shape {tuple(mask.shape)}"
        raise SfvError(f"keep_still is {found}; give uint8 of (height, width, 3), as read_picture does")


@torch.inference_mode()
def encoded(model: VideoModel, start: Start, seconds: dict[str, float], known: Cond | None = None) -> Cond:
    """The network's condition; `known`, of the same picture, seed and noise_aug, saves encoding."""
    want = start.want
    with clocked_stage(seconds, "encode", model.device):
        if known is None:
            return condition(model, first_pixels(model, start.still), want, [start.motion])
        return model.conditioner.with_knobs(known, **knobs(want, [start.motion]))


@torch.inference_mode()
def finish(
    model: VideoModel,
    start: Start,
    cond: Cond,
    seconds: dict[str, float],
    watch: Watch | None = None,
    peek: Peek | None = None,
) -> Clip:
    """The clip of a fitted picture that is encoded already; `seconds` are what that took."""
    with clocked_stage(seconds, "unet", model.device):
        latents, calls = sample(model, cond, start.want, watch, peek)
    return _ordinary(edited(made_of(model, latents, start, calls, seconds), model.enlarges(start.want.decoder)))


def _ordinary(clip: Clip) -> Clip:
    """With tensors that may be edited: those of inference mode may not, without which clips take 5 % longer."""
    held = {field.name: getattr(clip, field.name) for field in fields(clip)}
    with torch.inference_mode(False):
        free: dict[str, Any] = {k: v.clone() for k, v in held.items() if isinstance(v, Tensor) and v.is_inference()}
        return replace(clip, **free)


@torch.inference_mode()
def generate_many(
    model: VideoModel,
    pictures: Sequence[AnyPicture],
    settings: Settings,
    seeds: Sequence[int],
    watch: Watch | None = None,
) -> list[Clip]:
    """Animate several pictures in one batch, with equal settings but for the seed; a clip does not depend on the rest.

    Rounding does depend on it (latents by 1e-6 in float32). Every clip has its share of the seconds. Errors as in
    `generate`, and for another number of seeds than of pictures.
    """
    if len(seeds) != len(pictures):
        raise SfvError(f"{len(pictures)} pictures and {len(seeds)} seeds; give every picture its seed")
    if not pictures:
        return []
    names = [checked({"seed": int(s)}).seed for s in seeds]
    want, seconds = resolve(settings, model), dict[str, float]()
    stills = [fitted(p, want, model) for p in pictures]
    arrows = [arrow_in(want, (p.shape[0], p.shape[1]), s) for p, s in zip(pictures, stills, strict=True)]
    for still, arrow in zip(stills, arrows, strict=True):
        check_move(model, want, still, False)
        check_arrow(model, Start(want, still, None, arrow))
    judged = [settled(model, want, s) for s in stills]
    each = [with_eyes(model, j, s, None) for j, s in zip(judged, stills, strict=True)]
    first = torch.cat([first_pixels(model, s) for s in stills])
    with clocked_stage(seconds, "encode", model.device):
        cond = condition(model, first, want, [j.motion for j in judged], names)
    with clocked_stage(seconds, "unet", model.device):
        latents, calls = sample(model, cond, want, watch, seeds=names)
    share = {k: v / len(stills) for k, v in seconds.items()}
    much = strength(float(want.motion or 0), model.defaults.motion)
    wants = [w.model_copy(update={"seed": s}) for (w, _), s in zip(each, names, strict=True)]
    starts = [
        Start(w, s, None, a, e, j.motion, softness(j.logit), much)
        for w, s, a, (_, e), j in zip(wants, stills, arrows, each, judged, strict=True)
    ]
    pairs = zip(latents.split(1), starts, strict=True)
    return [_ordinary(edited(made_of(model, z, start, calls, dict(share)))) for z, start in pairs]
