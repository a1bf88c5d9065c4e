"""What a model says of a picture: whether it is moved as one body, where that is left to it, and how much it moves."""

from typing import NamedTuple

import torch

from sfv.families.base import VideoModel
from sfv.families.base import softness as bending
from sfv.generation.clip import Still
from sfv.generation.fitting import first_pixels
from sfv.media.grounds import fills_frame
from sfv.media.pixels import as_layers
from sfv.settings import FREE, MOVES, Settings

CALMEST, LIVELIEST = 20, 235
"""Motion ids beyond which no picture's own goes."""
FURTHEST = 1.8
"""Times as far as at the model's usual motion a program's word goes at 255."""


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
    stiff, motion, said = moving and want.move not in FREE, float(want.motion or 0), None
    if moving and MOVES.get(want.move, 0) == 0:
        first = first_pixels(model, still)
        if first.shape[1] == 4 and fills_frame(first):
            stiff = True
        elif model.stiffness is not None:
            first = first if first.shape[1] == 4 else as_layers(still.small, model.device)
            logit, more = (float(v) for v in model.stiffness.judged(first))
            stiff, said = stiff or logit > 0, logit
            motion = liveliness(motion, model.defaults.motion, more) if more else motion
    return Settled(
        want.model_copy(update={"stiff": "on" if stiff else "off"} if want.stiff == "auto" else {}), motion, said
    )


def softness(logit: float | None) -> float:
    """How sure it is that a thing bends, 0 to 1, by its logit of being stiff; 0 where nobody says."""
    return 0.0 if logit is None else float(bending(torch.tensor([logit])))


def strength(asked: float, usual: float) -> float:
    """How far a program's word goes: 0 at no motion, 1 at the model's usual one, FURTHEST at 255, in between straight
    lines."""
    if asked <= usual:
        return asked / max(usual, 1)
    return 1 + (FURTHEST - 1) * (asked - usual) / (255 - usual)


def liveliness(asked: float, usual: float, more: float) -> float:
    """The motion id for `asked` of a picture that moves `more` ids more than the usual one: 0 and 255 stay, the model's
    `usual` is moved by `more`, and in between lie straight lines."""
    own = min(max(usual + more, CALMEST), LIVELIEST)
    if asked <= usual:
        return asked * own / max(usual, 1)
    return 255 - (255 - asked) * (255 - own) / max(255 - usual, 1)
