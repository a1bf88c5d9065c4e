"""What a model says of a picture: whether it is moved as one body, where that is left to it, and how much it moves."""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from sfv.families.base import VideoModel
from sfv.families.base import softness as bending
from sfv.generation.clip import Still
from sfv.generation.fitting import first_pixels
from sfv.media.pixels import as_layers
from sfv.settings import MOVES, Settings
from sfv.types import AnyFirst

RIM = 2
"""Pixels of the border that are looked at."""
ALIKE = 24 / 255
"""Levels within which a border is of one colour, of 1."""
PLAIN = 0.6
"""Share of the border that must be alike for the picture to lie on a ground."""
CALMEST, LIVELIEST = 20, 235
"""Motion ids beyond which no picture's own goes."""
STEP, SMOOTH = 5 / 255, 0.9
"""Levels, of 1, between neighbours along the border, and the share that must be below, for a ground that shades."""


class Settled(NamedTuple):
    """Settings with `stiff` as on or off, the motion id that the network is given, and the logit of a thing's being
    stiff: None of a picture that fills its frame, and of models that do not say."""

    want: Settings
    motion: float
    logit: float | None


@torch.inference_mode()
def settled(model: VideoModel, want: Settings, still: Still) -> Settled:
    """What depends on the model's own judgement of a picture.

    Stiff is on where a word moves a thing, and for pictures that fill their frame (photos). Else as the model's own
    network says. Off for models whose decoder does not move the picture, and, on a ground, for those without such a
    network. The same network says how much pictures like this one move; words for motion that the denoiser follows are
    carried out as much for every picture, and of photos it knows nothing.
    """
    moving = model.enlarges(want.decoder)
    stiff, motion, said = moving and want.move not in ("auto", "free", "blink"), float(want.motion or 0), None
    if moving and model.stiffness is not None and MOVES.get(want.move, 0) == 0:
        first = first_pixels(model, still)
        if first.shape[1] == 3:
            first = as_layers(still.small, model.device)
        logit, more = (float(v) for v in model.stiffness.judged(first))
        fills = fills_frame(first)
        stiff, said = stiff or fills or logit > 0, None if fills else logit
        if more and not fills:
            motion = liveliness(motion, model.defaults.motion, more)
    return Settled(
        want.model_copy(update={"stiff": "on" if stiff else "off"} if want.stiff == "auto" else {}), motion, said
    )


def softness(logit: float | None) -> float:
    """How sure it is that a thing bends, 0 to 1, by its logit of being stiff; 0 where nobody says."""
    return 0.0 if logit is None else float(bending(torch.tensor([logit])))


def liveliness(asked: float, usual: float, more: float) -> float:
    """The motion id for `asked` of a picture that moves `more` ids more than the usual one: 0 and 255 stay, the model's
    `usual` is moved by `more`, and in between lie straight lines."""
    own = min(max(usual + more, CALMEST), LIVELIEST)
    if asked <= usual:
        return asked * own / max(usual, 1)
    return 255 - (255 - asked) * (255 - own) / max(255 - usual, 1)


def fills_frame(first: AnyFirst) -> bool:
    """Whether a picture (1, 3 or 4, h, w in [-1, 1]) goes on to its border, instead of lying on a ground or in the
    clear: such a one is moved with its border outside the frame."""
    return not is_clear(first) and not _plain(first) and not _smooth(first)


def ground_shades(first: AnyFirst) -> bool:
    """Whether a picture lies on a ground of changing colour, such as a gradient: moved at its border it would show."""
    return not is_clear(first) and not _plain(first) and _smooth(first)


def is_clear(first: AnyFirst) -> bool:
    """Whether a picture is clear somewhere."""
    return first.shape[1] == 4 and float((first[:, 3:] > 0).float().mean()) < 1


def _plain(first: AnyFirst) -> bool:
    """Whether most of the border is of one colour."""
    colours = rim(first)
    far = (colours - colours.median(1, keepdim=True).values).abs().amax(0)
    return float((far < ALIKE).float().mean()) >= PLAIN


def rim(first: AnyFirst) -> Float[Tensor, "3 pixels"]:
    """The colours of the border, half as far apart as in [-1, 1]."""
    return torch.cat([part[0, :3].flatten(1) for part in _rims(first)], 1).float() / 2


def _smooth(first: AnyFirst) -> bool:
    """Whether the border has no texture: neighbours along it are alike."""
    steps = torch.cat([part[0, :3].float().diff(dim=2).abs().amax(0).flatten() / 2 for part in _rims(first)])
    return float((steps < STEP).float().mean()) >= SMOOTH


def _rims(first: AnyFirst) -> tuple[torch.Tensor, ...]:
    """The four sides, along their length."""
    return first[..., :RIM, :], first[..., -RIM:, :], first[..., :RIM].mT, first[..., -RIM:].mT
