"""What a request may say and what a model's makers recommend: one schema for Python, flags and files.

Floor 0: knows pydantic alone, so that help and validation are instant.
"""

from pathlib import Path
from typing import Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, model_validator

from sfv.errors import SfvError

Fit = Literal["pad", "crop"]
FITS: tuple[str, ...] = get_args(Fit)
Decoder = Literal["small", "full"]
Sampler = Literal["euler", "consistency"]
Format = Literal["mp4", "gif", "webp", "png"]
FORMATS: tuple[str, ...] = get_args(Format)
SEE_THROUGH = ("webp", "png", "gif")
"""Formats that hold transparency (gif: all or nothing at each pixel)."""
Profile = Literal["exact", "fast"]
Backend = Literal["auto", "eager", "compile", "graphs", "openvino"]
Card = Literal["h100", "h200", "a100", "l40s", "rtx4090"]
LADDER = ("sticker-teacher:25", "sticker-teacher:8", "sticker-teacher:4", "sticker-teacher:1", "sticker:1")


class Defaults(BaseModel):
    """What a model was made for; stored beside its denoiser, overridden by a request."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    frames: int = Field(gt=0)
    height: int = Field(gt=0)
    width: int = Field(gt=0)
    fps: float = Field(default=7, gt=1)
    motion: float = Field(default=127, ge=0, le=255)
    noise_aug: float = Field(default=0.02, ge=0)
    steps: int = Field(default=25, gt=0)
    guidance: float = Field(default=3.0, ge=1)
    sampler: Sampler = "euler"


class Settings(BaseModel):
    """How to animate a picture. What is not given follows the model's own defaults."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    steps: int | None = Field(default=None, gt=0, le=1000)
    """Network calls; 1 is what a student is made for, a teacher wants 25."""
    seed: int = Field(default=0, ge=0, lt=2**63)
    """Same seed, same clip, whatever else is animated with it."""
    fps: float | None = Field(default=None, ge=2, le=60)
    """Frames per second that the model is told and the file plays at."""
    play_fps: float | None = Field(default=None, ge=2, le=60)
    """Frames per second of the file, for models of whole loops: motion is interpolated between the frames made."""
    motion: float | None = Field(default=None, ge=0, le=255)
    """Motion bucket: more is livelier."""
    frames: int | None = Field(default=None, ge=2, le=200)
    """Length of the clip; the model's own length works best."""
    height: int | None = Field(default=None, ge=16, le=4096)
    """Pixels; a multiple of what the codec needs."""
    width: int | None = Field(default=None, ge=16, le=4096)
    """Pixels; a multiple of what the codec needs."""
    guidance: float | None = Field(default=None, ge=1, le=20)
    """Guidance at the last frame (1 at the first). 1 is off; more doubles the network's work."""
    noise_aug: float | None = Field(default=None, ge=0, le=1)
    """Noise added to the condition picture."""
    fit: Fit = "pad"
    """How a picture of another shape is fitted: pad keeps it whole, crop fills the frame."""
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
        if self.transparent and self.background != "white":
            raise ValueError(f"background {self.background} and transparent contradict each other; give one of them")
        return self

    def over(self, own: Defaults) -> "Settings":
        """The same with every open field filled from a model's defaults."""
        known = {k: v for k, v in own.model_dump().items() if getattr(self, k) is None}
        return self.model_copy(update=known)


class Speed(BaseModel):
    """How a model's networks are run; the clip is the same but for rounding."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    profile: Profile = "fast"
    """exact: rewrites that do not change the numbers. fast: bfloat16 as well, on CPUs that have it (docs/speed.md)."""
    backend: Backend = "auto"
    """eager, compile, openvino; auto: what `sfv optimize` found quickest here, else eager."""


class Spread(BaseModel):
    """How many pictures are spread over processes and machines."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    ray_address: str | None = None
    """A running Ray cluster: auto, HOST:PORT or ray://HOST:PORT; one is started here if none is given."""
    ray_workers: int | None = Field(default=None, gt=0, le=10_000)
    """Processes that hold a model; as many as there are CPUs for (or GPUs, if they are used) if not given."""
    ray_threads: int = Field(default=1, gt=0, le=1024)
    """CPU threads of each worker."""


class ClipRules(BaseModel):
    """What is made of a video, whatever the model."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    fit: Fit = "crop"
    """How a video of another aspect is fitted: crop or pad, never stretched."""
    cut: float = Field(default=0.12, gt=0, le=1)
    """Mean colour change (0-1) that, if also three times the scene's usual, starts a new scene."""
    min_motion: float = Field(default=0.0, ge=0)
    """Clips whose mean flow (pixels per frame at 256 pixels' short side) is less are left out."""
    max_motion: float = Field(default=1e3, gt=0)
    """Clips whose mean flow is more are left out."""
    max_clips: int = Field(default=1000, gt=0)
    """Clips taken of one video."""
    keep_copies: bool = False
    """Keep clips that look like an earlier one."""


class ClipPlan(ClipRules):
    """What a clip is, in full."""

    fps: float = Field(gt=0, le=120)
    frames: int = Field(gt=1, le=200)
    sizes: tuple[str, ...] = Field(min_length=1)

    def buckets(self) -> list[tuple[int, int]]:
        """(height, width) of every size; SfvError for what is not HEIGHTxWIDTH."""
        return [split_size(text) for text in self.sizes]


class EncodeSettings(ClipRules):
    """A request to encode videos. What is not given follows the model's own defaults."""

    fps: float | None = Field(default=None, gt=0, le=120)
    """Frames per second after resampling by time."""
    frames: int | None = Field(default=None, gt=1, le=200)
    """Frames of a clip; what is left of a scene is dropped."""
    sizes: tuple[str, ...] = ()
    """HEIGHTxWIDTH of the aspect buckets; a video goes to the one nearest in aspect."""
    workers: int = Field(default=1, gt=0, le=256)
    """Processes; each holds the model and one clip."""

    def over(self, own: Defaults) -> ClipPlan:
        """The plan with every open field filled from a model's defaults."""
        given = self.model_dump(exclude={"workers"})
        given["fps"], given["frames"] = self.fps or own.fps, self.frames or own.frames
        given["sizes"] = self.sizes or (f"{own.height}x{own.width}",)
        return ClipPlan(**given)


class EvaluateSettings(BaseModel):
    """A request to measure models."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    models: tuple[str, ...] = Field(default=LADDER, min_length=1)
    """MODEL[@PROFILE][:STEPS], or a folder of clips made elsewhere; motion ratios refer to the first."""
    protocol: str = "sticker"
    """What is measured and how: sticker or loops, each also with -selection or -report (half of the families: to
    choose on, to publish), offline (needs no --weights), ucf101, or a JSON file."""
    limit: int = Field(default=0, ge=0)
    """Use only this many clips (0 = the protocol's number): quicker, and another protocol."""
    weights: Path | None = None
    """Folder with the protocol's feature networks (and lpips_alexnet.safetensors for LPIPS)."""
    out: Path = Path("out/evaluation")
    """Folder for table.json, table.md, table.tex, index.html and the clips made."""
    against: Path | None = None
    """An earlier table.json of the same protocol, to be compared with."""
    decoder: Decoder | None = None
    """small or full, for every model; the default is what `sfv generate` uses."""
    profile: Profile = "fast"
    """exact or fast, for every model that does not name its own; always eager, so that digits do not depend on it."""
    workers: int = Field(default=2, gt=0, le=256)
    """Threads that extract features; the digits do not depend on it."""
    device: str = "auto"
    """Of the models: auto, cpu, cuda, cuda:1, mps."""


class StudySettings(BaseModel):
    """A request to find out which network sees which fault."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    protocol: str = "sticker"
    """Whose clips and networks: sticker, offline, ucf101, or a JSON file."""
    limit: int = Field(default=0, ge=0)
    """Use only this many clips (0 = the protocol's number)."""
    weights: Path | None = None
    """Folder with the protocol's feature networks."""
    out: Path = Path("out/study")
    """Folder for study.json, study.md and study.svg."""
    workers: int = Field(default=2, gt=0, le=256)
    """Threads that extract features; the digits do not depend on it."""


class ImportSettings(BaseModel):
    """How imported weights are called when nothing is said. The default is a consistency model, as AnimateLCM-SVD."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sampler: Sampler = "consistency"
    """euler for fine-tunes of the teacher and adversarial students; consistency for consistency models."""
    steps: int = Field(default=4, gt=0, le=1000)
    """Network calls."""
    guidance: float = Field(default=1.0, ge=1, le=20)
    """Guidance at the last frame; 1 is off."""
    frames: int | None = Field(default=None, ge=2, le=200)
    """Length of a clip; the base's if not given."""
    fps: float = Field(default=7, ge=2, le=60)
    """Frames per second."""
    motion: float = Field(default=127, ge=0, le=255)
    """Motion bucket."""


class AccountSettings(BaseModel):
    """A request to count what a model needs, before anything is rented or downloaded."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str = "svd"
    """svd, svd-xt (sizes alone, nothing is opened), an embedded model, a diffusers folder, or a hub id."""
    size: str | None = None
    """HEIGHTxWIDTH of a clip; the model's own if not given."""
    frames: int | None = Field(default=None, ge=2, le=200)
    """Length of a clip; the model's own if not given."""
    train_size: str | None = None
    """HEIGHTxWIDTH of training clips; 448x768 for SVD, as SF-V's, else the model's own."""
    presets: tuple[str, ...] = ("svd-24gb", "svd-80gb", "svd-paper")
    """Presets of student or teacher that are counted too."""
    card: Card = "h100"
    """Whose published arithmetic and memory the predictions use."""
    price: float | None = Field(default=None, gt=0, le=1000)
    """Dollars an hour for one card; an assumption of ours if not given."""


def split_size(text: str) -> tuple[int, int]:
    """HEIGHTxWIDTH -> both; SfvError for anything else."""
    height, _, width = text.partition("x")
    if not (height.isdigit() and width.isdigit()) or min(int(height), int(width)) < 16:
        raise SfvError(f"size {text!r} must be HEIGHTxWIDTH in pixels, at least 16, such as 576x1024")
    return int(height), int(width)


def split_speed(name: str, usual: Speed) -> tuple[str, Speed]:
    """MODEL@PROFILE, MODEL@PROFILE/BACKEND -> both; MODEL alone is run as usual."""
    model, at, how = name.rpartition("@")
    if not at:
        return name, usual
    profile, _, backend = how.partition("/")
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
