"""What is asked of `sfv account`."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Card = Literal["h100", "h200", "a100", "l40s", "rtx4090"]


class AccountSettings(BaseModel):
    """A request to count what a model needs, before anything is rented or downloaded."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str = "svd"
    """svd, svd-xt, wan-5b (sizes alone, nothing is opened), an embedded model, a diffusers folder, or a hub id."""
    size: str | None = None
    """HEIGHTxWIDTH of a clip; the model's own if not given."""
    frames: int | None = Field(default=None, ge=2, le=200)
    """Length of a clip; the model's own if not given."""
    train_size: str | None = None
    """HEIGHTxWIDTH of training clips; 448x768 for SVD, as SF-V's, 480x832 for wan-5b, else the model's own."""
    presets: tuple[str, ...] = ("svd-24gb", "svd-48gb", "svd-8x24gb", "svd-paper")
    """Presets of student or teacher that are counted too."""
    card: Card = "h100"
    """Whose published arithmetic and memory the predictions use."""
    price: float | None = Field(default=None, gt=0, le=1000)
    """Dollars an hour for one card; an assumption of ours if not given."""
