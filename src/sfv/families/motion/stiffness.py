"""Which pictures are of stiff things, and how much such pictures move: a small network that says so from the picture.

Faces, people and animals bend, and new parts of them come to be seen; boxes, signs, letters and tools do not. Drawn
people move little, drawn hearts and birds much.
"""

from typing import Literal, cast

import torch
from jaxtyping import Float
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from sfv.families.base import Judge
from sfv.families.motion.codec import Pyramid
from sfv.families.motion.straight_lines import NUMBERS, straight_lines
from sfv.media.grounds import cut_free, over_white
from sfv.types import RgbaPicture

Ground = Literal["given", "clear", "white"]
"""As it is given; cut free of its ground, as with transparency; the same, laid over white."""


class StiffnessConfig(BaseModel):
    """Sizes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    widths: tuple[int, int, int] = (128, 96, 64)
    """Channels of the picture's features from the coarsest on, as the codec's decoder has them."""
    hidden: int = Field(default=64, gt=0)
    """Channels between features and answer."""
    lines: bool = False
    """Whether straight lines count too."""
    motion: bool = False
    """Whether it says how much such pictures move."""
    ground: Ground = "given"
    """On what a thing is judged that lies on a plain ground, or on none."""


class Stiffness(Judge):
    """A picture -> the logit of its being stiff, and how much it moves."""

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
        seen = kinds + NUMBERS
        self.motion = (
            nn.Sequential(nn.BatchNorm1d(seen, eps=1e-9, affine=False), nn.Linear(seen, 1)) if config.motion else None
        )
        """Of features and the numbers of lines."""

    def forward(self, pictures: RgbaPicture) -> Float[Tensor, " b"]:
        """(b, 4, h, w) in [-1, 1] -> (b,): above 0 is stiff, by features alone or with lines.

        Either is enough: what is moved as one body without need is whole, what bends without need may be torn.
        """
        there = self._grounded(pictures)
        answer = self._of_features(self._features(there))
        return answer if self.lines is None else self._joined(answer, straight_lines(there))

    def by_features(self, pictures: RgbaPicture) -> Float[Tensor, " b"]:
        """The answer from features alone."""
        return self._of_features(self._features(self._grounded(pictures)))

    def judged(self, pictures: RgbaPicture) -> tuple[Float[Tensor, " b"], Float[Tensor, " b"]]:
        """(b, 4, h, w) in [-1, 1] -> `forward` of them, and by how many motion ids drawn loops of such pictures move
        more than the usual one (zeros of a network that does not say)."""
        seen = self.seen(pictures)
        stiff = self._joined(self._of_features(seen[:, :-NUMBERS]), seen[:, -NUMBERS:])
        return stiff, torch.zeros_like(stiff) if self.motion is None else cast(Tensor, self.motion(seen))[:, 0].float()

    def seen(self, pictures: RgbaPicture) -> Float[Tensor, "b kinds"]:
        """Features, then the numbers of lines."""
        there = self._grounded(pictures)
        features = self._features(there)
        return torch.cat([features, straight_lines(there).to(features.dtype)], 1)

    def _grounded(self, pictures: RgbaPicture) -> RgbaPicture:
        if self.config.ground == "given":
            return pictures
        free = cut_free(pictures)
        return free if self.config.ground == "clear" else over_white(free)

    def _features(self, pictures: RgbaPicture) -> Float[Tensor, "b kinds"]:
        maps = self.pyramid(pictures.to(self.norm.weight.dtype))
        return torch.cat([kind for m in maps for kind in (m.mean((2, 3)), m.amax((2, 3)), _spread(m))], 1)

    def _of_features(self, features: Float[Tensor, "b kinds"]) -> Float[Tensor, " b"]:
        return cast(Tensor, self.answer(self.norm(features)))[:, 0].float()

    def _joined(self, answer: Float[Tensor, " b"], numbers: Float[Tensor, "b 7"]) -> Float[Tensor, " b"]:
        if self.lines is None:
            return answer
        with_lines = cast(Tensor, self.lines(torch.cat([numbers, answer[:, None]], 1).to(self.norm.weight.dtype)))
        return torch.maximum(answer, with_lines[:, 0].float())


def _spread(maps: Float[Tensor, "b c y x"]) -> Float[Tensor, "b c"]:
    """Standard deviation over places; none where there is one place."""
    return maps.std((2, 3)) if maps.shape[2] * maps.shape[3] > 1 else torch.zeros_like(maps[:, :, 0, 0])
