"""What is asked of `sfv average`."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator


class AverageSettings(BaseModel):
    """How much each model counts, and what the average does if nobody asks."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    shares: tuple[float, ...] = ()
    """A number above 0 for every model, in their order; they are divided by their sum. All alike if not given."""
    motion: float | None = Field(default=None, ge=0, le=255)
    """Motion bucket if nobody asks for one; the first model's if not given."""
    precision: Literal["float16", "bfloat16", "float32"] = "float16"
    """What the weights are stored in."""

    @field_validator("shares")
    @classmethod
    def _above_zero(cls, shares: tuple[float, ...]) -> tuple[float, ...]:
        if not all(0 < share < float("inf") for share in shares):
            raise ValueError("must be numbers above 0")
        return shares
