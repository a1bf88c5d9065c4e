"""What a request may say and what a model's makers recommend: one schema for Python, flags and files.

Imports pydantic alone, so that help and validation are instant.
"""

import re
from typing import Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, model_validator

from sfv.errors import SfvError

Fit = Literal["pad", "crop"]
FITS: tuple[str, ...] = get_args(Fit)
Shape = Literal["own", "pad", "crop"]
SHORTEST = 0.01
"""Share of a picture's side that an arrow goes at least, along one of them."""
LONGEST = 512
"""Pixels of a clip's longer side, unless more are asked for."""
Move = Literal["auto", "free", "sway", "nod", "bounce", "pulse", "squash", "shake", "spin", "float", "wave", "blink"]
FREE = ("auto", "free", "blink")
"""Moves by which the network says what a thing does: things may bend, and what its picture cuts off is not lifted."""
CARRIED = ("shake", "spin", "float", "wave")
"""Words for motion that a program carries out, over the network's own motion (decoding/directed.py)."""
MOVES: dict[str, int] = {"free": 0, "sway": 1, "nod": 2, "bounce": 3, "pulse": 4, "squash": 6}
"""Words for motion that the network follows, and the ids by which models of whole loops know them (PROGRAMS of
data/loops.py without the spin, which none has learnt)."""
Stiff = Literal["auto", "on", "off"]
Decoder = Literal["small", "full"]
Sampler = Literal["euler", "consistency"]
Format = Literal["mp4", "gif", "webp", "png", "webm"]
FORMATS: tuple[str, ...] = get_args(Format)
SEE_THROUGH = ("webp", "png", "webm", "gif")
"""Formats that hold transparency (gif: all or nothing at each pixel)."""
Profile = Literal["exact", "fast"]
Backend = Literal["auto", "eager", "compile", "graphs", "openvino"]


class Defaults(BaseModel):
    """What a model was made for; stored beside its denoiser, overridden by a request."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    frames: int = Field(gt=0)
    height: int = Field(gt=0)
    width: int = Field(gt=0)
    fps: float = Field(default=7, gt=1)
    play_fps: float | None = Field(default=None, ge=2, le=60)
    motion: float = Field(default=127, ge=0, le=255)
    noise_aug: float = Field(default=0.02, ge=0)
    steps: int = Field(default=25, gt=0)
    guidance: float = Field(default=3.0, ge=1)
    sampler: Sampler = "euler"


class Settings(BaseModel):
    """How to animate a picture. What is not given follows the model's own defaults."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)

    steps: int | None = Field(default=None, gt=0, le=1000)
    """Network calls; 1 is what a student is made for, a teacher wants 25."""
    seed: int = Field(default=0, ge=0, lt=2**63)
    """Same seed, same clip, whatever else is animated with it."""
    fps: float | None = Field(default=None, ge=2, le=60)
    """Frames per second: a condition of the model, and the rate of the file."""
    play_fps: float | None = Field(default=None, ge=2, le=60)
    """Frames per second of the file, for models of whole loops: motion is interpolated between the frames made."""
    seconds: float | None = Field(default=None, ge=0.5, le=20)
    """How long one round lasts, for models of whole loops; sets fps."""
    motion: float | None = Field(default=None, ge=0, le=255)
    """Motion bucket: more is livelier. The embedded model's own number is as lively as such pictures are."""
    prompt: str | None = Field(default=None, max_length=4000)
    """What happens, in words, for models that read them (Wan)."""
    frames: int | None = Field(default=None, ge=2, le=200)
    """Length of the clip; the model's own length works best."""
    height: int | None = Field(default=None, ge=16, le=4096)
    """Pixels; a multiple of what the codec needs."""
    width: int | None = Field(default=None, ge=16, le=4096)
    """Pixels; a multiple of what the codec needs."""
    move: Move = "auto"
    """How, for models of whole loops. free: as an animator would, without a blink. auto: the same, but a drawn face
    blinks if its open eyes are found for sure, in rounds of two seconds and more. sway, nod, bounce, pulse, squash: as
    one body, by the network. shake, spin, float, wave, blink: by a program, over the network's own motion; spin and
    wave need a thing on clear or plain ground, blink two open eyes."""
    drag: str | None = None
    """An arrow, FROM_X,FROM_Y:TO_X,TO_Y in shares of the picture from its left and top, such as 0.5,0.2:0.7,0.2: what
    lies at its start goes to its end and back, once a round; for models of whole loops."""
    stiff: Stiff = "auto"
    """on: the picture moves as one body, its lines and letters whole. auto: for stiff things and photos, where the
    model can tell."""
    guidance: float | None = Field(default=None, ge=1, le=20)
    """Guidance at the last frame (1 at the first). 1 is off; more doubles the network's work."""
    noise_aug: float | None = Field(default=None, ge=0, le=1)
    """Noise added to the condition picture."""
    fit: Shape | None = None
    """own: the picture's shape, and its size up to 512; pad: whole inside the model's frame; crop: fills it. own where
    the decoder moves the picture, unless height, width, enlarge or a whole size are given; else pad."""
    size: str | None = None
    """Pixels of the clip: its longer side, or HEIGHTxWIDTH, to which the picture is padded (or cropped, by fit)."""
    sampler: Sampler | None = None
    """euler follows the noise down; consistency denoises whole and noises again at every step. One step is the same."""
    decoder: Decoder | None = None
    """full: the codec's own decoder. small: the quicker one beside it, the default where a model has one."""
    background: str = "white"
    """Colour behind transparency and padding."""
    transparent: bool = False
    """Keep the picture's transparency, frame by frame; for webp, png and gif."""
    enlarge: int = Field(default=1, ge=1, le=8)
    """Frames this many times as large, from the picture's own pixels; for models whose decoder moves the picture."""
    boomerang: bool = False
    """Play there and back: a loop without a jump, almost twice as long."""

    @model_validator(mode="after")
    def _agree(self) -> "Settings":
        if self.size is not None and not re.fullmatch(r"[1-9][0-9]{0,3}(x[1-9][0-9]{0,3})?", self.size):
            raise ValueError(f"size {self.size} must be pixels of the longer side, or HEIGHTxWIDTH: 512 or 320x320")
        if self.seconds is not None and self.fps is not None:
            raise ValueError(f"seconds {self.seconds:g} goes without fps; give one of them")
        if self.size is not None and self.enlarge > 1:
            raise ValueError(f"size {self.size} goes without enlarge; give one of them")
        if self.size is not None and "x" in self.size and self.fit == "own":
            raise ValueError(f"size {self.size} is a shape of its own; leave fit out, or give pad or crop")
        if self.drag is not None:
            split_arrow(self.drag)
        if self.transparent and self.background != "white":
            raise ValueError(f"background {self.background} and transparent contradict each other; give one of them")
        return self

    def over(self, defaults: Defaults) -> "Settings":
        """The same with every open field filled from a model's defaults."""
        known = {k: v for k, v in defaults.model_dump().items() if getattr(self, k) is None}
        return self.model_copy(update=known)


class Speed(BaseModel):
    """How a model's networks are run; the clip is the same but for rounding."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    profile: Profile = "fast"
    """exact: rewrites that do not change the numbers. fast: bfloat16 as well, on CPUs that have it (docs/speed.md)."""
    backend: Backend = "auto"
    """eager, compile, openvino; auto: what `sfv optimize` found quickest here, else eager."""


def split_size(text: str) -> tuple[int, int]:
    """HEIGHTxWIDTH -> both; SfvError for anything else."""
    height, _, width = text.partition("x")
    if not (height.isdigit() and width.isdigit()) or min(int(height), int(width)) < 16:
        raise SfvError(f"size {text!r} must be HEIGHTxWIDTH in pixels, at least 16, such as 576x1024")
    return int(height), int(width)


def split_arrow(text: str) -> tuple[tuple[float, float], tuple[float, float]]:
    """FROM_X,FROM_Y:TO_X,TO_Y -> both places, shares of a picture; ValueError for anything else."""
    share = r"(0|1|0?\.[0-9]{1,9}|[01]\.0{1,9})"
    found = re.fullmatch(rf"{share},{share}:{share},{share}", text.replace(" ", ""))
    if found is None:
        raise ValueError(f"drag {text!r} must be FROM_X,FROM_Y:TO_X,TO_Y, each from 0 to 1, such as 0.5,0.2:0.7,0.2")
    x, y, to_x, to_y = (float(v) for v in found.groups())
    if max(abs(to_x - x), abs(to_y - y)) < SHORTEST:
        raise ValueError(f"drag {text}: the arrow has no length; end it {SHORTEST:g} or more from where it starts")
    return (x, y), (to_x, to_y)


def split_speed(name: str, usual: Speed) -> tuple[str, Speed]:
    """MODEL@PROFILE, MODEL@PROFILE/BACKEND -> both; MODEL alone is run as usual."""
    model, at, suffix = name.rpartition("@")
    if not at:
        return name, usual
    profile, _, backend = suffix.partition("/")
    if not model or profile not in get_args(Profile) or backend not in ("", *get_args(Backend)):
        known = f"{'|'.join(get_args(Profile))}[/{'|'.join(get_args(Backend))}]"
        raise SfvError(f"model {name!r} must be MODEL or MODEL@{known}")
    return model, Speed.model_validate({"profile": profile, "backend": backend or usual.backend})


def split_row(row: str) -> tuple[str, int | None]:
    """MODEL:STEPS -> both; MODEL alone has its own number of steps."""
    name, colon, steps = row.rpartition(":")
    if not colon:
        return row, None
    if not name or not steps.isdigit() or int(steps) < 1:
        raise SfvError(f"model {row!r} must be MODEL, MODEL:STEPS (such as sticker:1) or a folder of clips")
    return name, int(steps)
