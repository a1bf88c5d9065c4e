"""What makes clips inside a worker: the one place of this floor that opens a model."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from sfv.batch import note
from sfv.errors import SfvError
from sfv.families.base import VideoModel
from sfv.generation import CANNOT_ENLARGE, MAX_WORK, Clip, Watch, generate_many
from sfv.media.pictures import AnyPicture
from sfv.serve.settings import ServeSettings
from sfv.settings import Defaults, Settings, Speed
from sfv.speed import open_model


@dataclass(frozen=True)
class Card:
    """What a server must know of a model that only its workers hold."""

    name: str
    hash: str
    defaults: Defaults
    stride: int
    """Height and width are multiples of it."""
    small: bool
    """Has a small decoder."""
    transparent: bool
    """Makes transparent clips."""
    enlarges: bool
    """Makes clips larger than the network does."""
    batch: int
    """Jobs that are made together, where the service is not told a number."""
    speed: dict[str, str] = field(default_factory=dict)

    def resolve(self, settings: Settings) -> Settings:
        """Every open field filled; SfvError for what the model cannot make."""
        if settings.decoder == "small" and not self.small:
            raise SfvError("decoder small: the model has none; leave it out")
        if settings.transparent and not self.transparent:
            raise SfvError("transparent: the model's clips are opaque; leave it out")
        if settings.enlarge > 1 and (not self.enlarges or settings.decoder == "full"):
            raise SfvError(CANNOT_ENLARGE.format(settings.enlarge))
        decoder = settings.decoder or ("small" if self.small else "full")
        full = settings.over(self.defaults).model_copy(update={"decoder": decoder})
        height, width, frames = int(full.height or 0), int(full.width or 0), int(full.frames or 0)
        if height % self.stride or width % self.stride:
            raise SfvError(f"height and width must be multiples of {self.stride}, not {height}x{width}")
        height, width = height * full.enlarge, width * full.enlarge
        if frames * height * width > MAX_WORK:
            raise SfvError(f"{frames} frames of {height}x{width} are too much for one clip; ask for less")
        if full.sampler == "consistency" and (full.guidance or 1) > 1:
            raise SfvError(f"guidance {full.guidance:g} is for the euler sampler; use guidance 1 with consistency")
        return full


@runtime_checkable
class Animator(Protocol):
    """Makes clips; lives in one worker process."""

    card: Card

    def animate(
        self, pictures: Sequence[AnyPicture], settings: Settings, seeds: Sequence[int], watch: Watch
    ) -> list[Clip]:
        """One clip for each picture; `watch(done, steps)` after every network call may raise to stop the work."""
        ...

    def note(self, clip: Clip) -> str:
        """The parameters that are kept inside a clip's file."""
        ...


Opener = Callable[[ServeSettings, str], Animator]
"""Makes an animator for a device; called inside the worker process, so it must be importable by name."""


class ModelAnimator:
    """A model of sfv."""

    def __init__(self, model: VideoModel) -> None:
        own, batch = model.defaults, 1 if model.device.type == "cpu" else 4
        stride = own.height // model.codec.latent_shape(own.frames, own.height, own.width)[2]
        parts = (model.small is not None, model.matte is not None, model.enlarges())
        self.model = model
        self.card = Card(model.name.rstrip("/").rpartition("/")[2], model.hash, own, stride, *parts, batch, model.speed)

    def animate(
        self, pictures: Sequence[AnyPicture], settings: Settings, seeds: Sequence[int], watch: Watch
    ) -> list[Clip]:
        """One clip for each picture."""
        return generate_many(self.model, pictures, settings, seeds, watch)

    def note(self, clip: Clip) -> str:
        """The parameters that are kept inside a clip's file."""
        return note(self.model, clip)


def open_animator(settings: ServeSettings, device: str) -> Animator:
    """The service's model on one device, warm: networks are built and one clip is made before the first request."""
    import torch

    model = open_model(settings.model, device, Speed(profile=settings.profile, backend=settings.backend))
    animator = ModelAnimator(model)
    own = model.defaults
    grey = torch.full((own.height, own.width, 3), 128, dtype=torch.uint8)
    animator.animate([grey], Settings(steps=1), [0], lambda done, steps: None)
    return animator
