"""Pictures that no model has seen move, animated in one call, as a contact sheet for people to judge.

    python runs/stills_sheet.py STILLS OUT.webp [MODEL] [COUNT] [SEED]

STILLS is a folder or zip of pictures (stills.zip of the emoji set: objects, flags and food that have no animation);
COUNT of them (20) are drawn by SEED (0), so nobody chooses. A row is a picture and seven of its clip's frames.
"""

import io
import random
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import torch

import sfv
from sfv.media import PICTURE_ENDINGS, contact_sheet, read_picture, write_picture
from sfv.media.pictures import Uint8Picture
from sfv.types import Frames

SHOWN = (0, 2, 4, 6, 8, 10, 13)
Read = Callable[[], Uint8Picture]


def pictures(place: Path) -> dict[str, Read]:
    """Name -> how to read it."""
    if place.is_dir():
        found = [p for p in place.iterdir() if p.suffix.lower() in PICTURE_ENDINGS]
        return {p.stem: lambda p=p: read_picture(p) for p in found}  # type: ignore[misc]
    archive = zipfile.ZipFile(place)
    names = [n for n in archive.namelist() if Path(n).suffix.lower() in PICTURE_ENDINGS]
    return {Path(n).stem: lambda n=n: read_picture(io.BytesIO(archive.read(n))) for n in names}  # type: ignore[misc]


def row(model: sfv.VideoModel, read: Read) -> Frames:
    clip = sfv.generate(model, read())
    return torch.cat([clip.picture[None], clip.frames[list(SHOWN)]])


def main(place: Path, out: Path, name: str = "sticker", count: str = "20", seed: str = "0") -> None:
    found, model = pictures(place), sfv.load(name)
    drawn = random.Random(int(seed)).sample(sorted(found), int(count))
    write_picture(contact_sheet([(n, row(model, found[n])) for n in drawn]), out)
    print(f"{out}: {', '.join(drawn)}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), *sys.argv[3:])
