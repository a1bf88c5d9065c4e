"""What is asked of `sfv encode`."""

from pydantic import BaseModel, ConfigDict, Field

from sfv.settings import Defaults, Fit, split_size


class ClipRules(BaseModel):
    """What is made of a video, whatever the model."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

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

    def over(self, defaults: Defaults) -> ClipPlan:
        """The plan with every open field filled from a model's defaults."""
        given = self.model_dump(exclude={"workers"})
        given["fps"], given["frames"] = self.fps or defaults.fps, self.frames or defaults.frames
        given["sizes"] = self.sizes or (f"{defaults.height}x{defaults.width}",)
        return ClipPlan(**given)
