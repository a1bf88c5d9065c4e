"""What makes clips inside a worker: the only module of `sfv.serve` that opens a model."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol, runtime_checkable

from sfv.batch.clip_file import note
from sfv.families.base import VideoModel
from sfv.generation.clip import Clip
from sfv.generation.generate import generate_many
from sfv.generation.sampling import Watch
from sfv.limits import ModelLimits, resolve
from sfv.media.pictures import AnyPicture
from sfv.serve.settings import ServeSettings
from sfv.settings import Settings, Speed
from sfv.speed.optimize import open_model


@dataclass(frozen=True)
class ModelInfo:
    """What a server must know of a model that only its workers hold."""

    hash: str
    limits: ModelLimits
    batch: int
    """Jobs that are made together, where the service is given no number."""
    speed: dict[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The model's."""
        return self.limits.name

    def resolve(self, settings: Settings) -> Settings:
        """Every open field filled; SfvError for what the model cannot make."""
        return resolve(settings, self.limits)


@runtime_checkable
class Animator(Protocol):
    """Makes clips; lives in one worker process."""

    model_info: ModelInfo

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
        limits = replace(model.limits, name=model.name.rstrip("/").rpartition("/")[2])
        self.model = model
        self.model_info = ModelInfo(model.hash, limits, 1 if model.device.type == "cpu" else 4, model.speed)

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
    defaults = model.defaults
    grey = torch.full((defaults.height, defaults.width, 3), 128, dtype=torch.uint8)
    animator.animate([grey], Settings(steps=1), [0], lambda done, steps: None)
    return animator
