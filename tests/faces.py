"""Faces drawn for tests: a disc with two eyes."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from PIL import Image, ImageDraw

SIDE, FINE = 100, 4
"""Pixels, and how many times finer it is drawn."""
Place = tuple[float, float]


@dataclass(frozen=True)
class Drawn:
    """Layers (1, 4, y, x) in [-1, 1], which pixels are the face, and where its eyes are (row, column)."""

    picture: torch.Tensor
    there: torch.Tensor
    eyes: tuple[Place, Place]

    @property
    def sticker(self) -> torch.Tensor:
        """(y, x, 4) uint8."""
        return ((self.picture[0].permute(1, 2, 0) + 1) * 127.5).round().byte()


def face(
    middle: Place = (50, 50),
    radius: float = 32,
    white: bool = False,
    ring: str | None = None,
    skin: str = "#f7c948",
    nostrils: bool = False,
    brows: bool = False,
    muzzle: bool = False,
    eyes: Literal["two", "none", "one", "closed", "unlike"] = "two",
) -> Drawn:
    """A disc with a mouth and two dark eyes (in the white, in coloured rings or under brows), on clear ground."""
    image = Image.new("RGBA", (SIDE * FINE, SIDE * FINE))
    pen = ImageDraw.Draw(image)

    def oval(row: float, column: float, tall: float, wide: float, colour: str) -> None:
        pen.ellipse([FINE * v for v in (column - wide, row - tall, column + wide, row + tall)], colour)

    row, column = middle
    oval(row, column, radius, radius, skin)
    places = tuple((row - radius / 6, column + side * radius / 2.4) for side in (-1, 1))
    for k, (y, x) in enumerate(places[: {"none": 0, "one": 1}.get(eyes, 2)]):
        small = 0.4 if eyes == "unlike" and k else 1.0
        if eyes == "closed":
            pen.arc(
                [FINE * v for v in (x - radius / 6, y - radius / 6, x + radius / 6, y + radius / 6)],
                200,
                340,
                "#222222",
                8,
            )
            continue
        if white:
            oval(y, x, radius / 3.6, radius / 4, "#ffffff")
        if brows:
            oval(y - 0.43 * radius, x, radius / 8, radius / 5.2, "#181818")
        if ring is not None:
            oval(y, x, radius / 4, radius / 4, ring)
        oval(y, x, small * radius / 8, small * radius / 9, "#2b1d24")
    if muzzle:
        oval(row + radius / 2.6, column, radius / 3.2, radius / 2, "#ffffff")
    if nostrils or muzzle:
        apart = radius / 3.6 if muzzle else radius / 8
        for side in (-1, 1):
            oval(row + radius / (2.6 if muzzle else 5), column + side * apart, radius / 14, radius / 14, "#2b1d24")
    pen.rectangle(
        [FINE * v for v in (column - radius / 3, row + radius / 2, column + radius / 3, row + radius / 1.8)], "#502020"
    )
    data = np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BOX), np.float32) / 255
    data = np.concatenate([data[..., :3] * data[..., 3:], data[..., 3:]], -1)
    picture = torch.from_numpy(data).permute(2, 0, 1)[None] * 2 - 1
    return Drawn(picture, picture[0, 3] > -0.9, (places[0], places[1]))
