"""Pictures that no model has seen move, animated, as a contact sheet for people to judge.

    python runs/quality/stills_sheet.py STILLS OUT.webp [--model MODEL] [--steps N] [--count 20] [--seed 0]
        [--only rigid] [--moving COLUMNS]

STILLS is a folder of pictures, or stills.zip of the emoji set, of which only the 2nd, 4th, 6th ... by name count: the
others may be trained on. COUNT of them are drawn by SEED, so nobody chooses. A row is a picture and seven of its clip's
frames. --only rigid leaves out flags, which are cloth. --moving writes the clips themselves beside each other, playing.
"""

import argparse
import io
import random
import unicodedata
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path

import torch

import sfv
from sfv.media import PICTURE_ENDINGS, contact_sheet, read_picture, write_picture
from sfv.media.pictures import Uint8Picture
from sfv.types import Frames

SHOWN = 7
Read = Callable[[], Uint8Picture]


def arguments(about: str | None, count: int) -> argparse.ArgumentParser:
    """What scripts over unseen stills take: STILLS, OUT, and --model, --count, --seed."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stills", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--model", default="sticker")
    parser.add_argument("--count", type=int, default=count)
    parser.add_argument("--seed", type=int, default=0)
    return parser


def pictures(place: Path, only: str = "") -> dict[str, Read]:
    """Name -> how to read it."""
    if place.is_dir():
        found = [p for p in place.iterdir() if p.suffix.lower() in PICTURE_ENDINGS]
        return {p.stem: lambda p=p: read_picture(p) for p in found}  # type: ignore[misc]
    archive = zipfile.ZipFile(place)
    names = sorted(n for n in archive.namelist() if Path(n).suffix.lower() in PICTURE_ENDINGS)[1::2]
    unseen = {called(Path(n).stem): lambda n=n: read_picture(io.BytesIO(archive.read(n))) for n in names}  # type: ignore[misc]
    return {k: v for k, v in unseen.items() if not (only == "rigid" and k.startswith("flag"))}


def called(codes: str) -> str:
    """What an emoji is called, by its code points in hex."""
    points = [int(c, 16) for c in codes.split("-")]
    if 0x1F1E6 <= points[0] <= 0x1F1FF:
        return "flag " + "".join(chr(p - 0x1F1E6 + ord("A")) for p in points)
    name = unicodedata.name(chr(points[0]), codes).lower()
    return name if len(points) == 1 else f"{name} {codes}"


def drawn(found: Iterable[str], count: int, seed: int) -> list[str]:
    """Names, by chance alone."""
    return random.Random(seed).sample(sorted(found), min(count, len(found)))


def row(model: sfv.VideoModel, picture: Uint8Picture, steps: int | None) -> Frames:
    """The picture and frames of its clip, evenly spread."""
    clip = sfv.generate(model, picture, steps=steps, fit="pad")
    at = torch.linspace(0, len(clip.frames) - 1, SHOWN + 1)[1:].round().long()
    return torch.cat([clip.picture[None], clip.frames[at]])


def grid(model: sfv.VideoModel, every: list[Uint8Picture], columns: int, fps: float = 12) -> Frames:
    """Clips of one length, playing side by side at the model's own size."""
    clips = [sfv.generate(model, p, fit="pad", play_fps=fps).frames for p in every]
    rows = [torch.cat(clips[i : i + columns], 2) for i in range(0, len(clips) - columns + 1, columns)]
    return torch.cat(rows, 1)


def main() -> None:
    parser = arguments(__doc__, 20)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--only", default="", choices=("", "rigid"))
    parser.add_argument("--moving", type=int, default=0, metavar="COLUMNS")
    asked = parser.parse_args()
    found, model = pictures(asked.stills, asked.only), sfv.load(asked.model)
    names = drawn(found, asked.count, asked.seed)
    if asked.moving:
        sfv.write_clip(grid(model, [found[n]() for n in names], asked.moving), asked.out, 12)
        return
    write_picture(contact_sheet([(n, row(model, found[n](), asked.steps)) for n in names]), asked.out)
    print(f"{asked.out}: {', '.join(names)}")


if __name__ == "__main__":
    main()
