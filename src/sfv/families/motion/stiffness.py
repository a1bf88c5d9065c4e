"""Which pictures are of stiff things: a small network that says so from the picture alone.

Faces, people and animals bend, and new parts of them come to be seen; boxes, signs, letters and tools do not.
"""

from typing import cast

import torch
from jaxtyping import Float
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from sfv.families.motion.codec import Pyramid
from sfv.families.motion.straight_lines import NUMBERS, straight_lines
from sfv.types import RgbaPicture


class StiffnessConfig(BaseModel):
    """Sizes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    widths: tuple[int, int, int] = (128, 96, 64)
    """Channels of the picture's features from the coarsest on, as the codec's decoder has them."""
    hidden: int = Field(default=64, gt=0)
    """Channels between features and answer."""
    lines: bool = False
    """Whether straight lines count too."""


class Stiffness(nn.Module):
    """A picture -> the logit of its being stiff."""

    def __init__(self, config: StiffnessConfig) -> None:
        super().__init__()
        self.config = config
        self.pyramid = Pyramid(config.widths)
        kinds = 3 * sum(config.widths)
        self.norm = nn.BatchNorm1d(kinds, momentum=0.01)
        """Each feature has a size of its own."""
        self.answer = nn.Sequential(
            nn.Dropout(0.3), nn.Linear(kinds, config.hidden), nn.ReLU(), nn.Dropout(0.3), nn.Linear(config.hidden, 1)
        )
        every = NUMBERS + 1
        self.lines = (
            nn.Sequential(nn.BatchNorm1d(every, eps=1e-9, affine=False), nn.Linear(every, 1)) if config.lines else None
        )
        """Of the numbers of lines, and of the answer from features."""

    def forward(self, pictures: RgbaPicture) -> Float[Tensor, " b"]:
        """(b, 4, h, w) in [-1, 1] -> (b,): above 0 is stiff, by features alone or with lines.

        Either is enough: what is moved as one body without need is whole, what bends without need may be torn.
        """
        answer = self.by_features(pictures)
        if self.lines is None:
            return answer
        numbers = torch.cat([straight_lines(pictures), answer[:, None]], 1)
        with_lines = cast(Tensor, self.lines(numbers.to(self.norm.weight.dtype)))[:, 0].float()
        return torch.maximum(answer, with_lines)

    def by_features(self, pictures: RgbaPicture) -> Float[Tensor, " b"]:
        """The answer from features alone."""
        maps = self.pyramid(pictures.to(self.norm.weight.dtype))
        kinds = [kind for m in maps for kind in (m.mean((2, 3)), m.amax((2, 3)), m.std((2, 3)))]
        return cast(Tensor, self.answer(self.norm(torch.cat(kinds, 1))))[:, 0].float()
