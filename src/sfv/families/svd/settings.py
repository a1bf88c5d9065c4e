"""What is asked of `sfv import`."""

from pydantic import BaseModel, ConfigDict, Field

from sfv.settings import Sampler


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
