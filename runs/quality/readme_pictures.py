"""The README's pictures, of the embedded model as it is.

    python runs/quality/readme_pictures.py STILLS docs/media [--seed 0]

STILLS as in runs/quality/stills_sheet.py. Writes loops.webp (bundled pictures, playing), side-by-side.webp (`sfv
compare`, whose captions have this machine's seconds), transparent.webp (over a dark ground) and stills.webp (twenty
unseen ones, drawn by SEED). Nothing else should run.
"""

import shutil
import tempfile
from pathlib import Path

import torch
from stills_sheet import SHOWN, arguments, drawn, grid, pictures, row

import sfv
from sfv.batch.compare import compare, example
from sfv.media import contact_sheet, read_picture, read_sticker, write_clip, write_picture
from sfv.settings import Settings
from sfv.types import Frames

LOOPS = ("beaver", "cup", "alarm-clock", "frog", "chick", "cat")
CLEAR = ("cat", "frog", "alarm-clock", "owl", "chick")
DARK = torch.tensor([34, 36, 64], dtype=torch.float32)
PLAYED = 12
"""Frames a second of the loops."""


def bundled(name: str) -> Path:
    return example().parent / f"{name}.png"


def over_dark(model: sfv.VideoModel, name: str) -> Frames:
    """Eight frames of a clip with transparency."""
    frames = sfv.generate(model, read_sticker(bundled(name)), transparent=True, size="128", play_fps=8).stickers()
    some = frames[torch.linspace(0, len(frames) - 1, SHOWN + 1).round().long()].float()
    share = some[..., 3:] / 255
    return (some[..., :3] * share + DARK * (1 - share)).round().to(torch.uint8)


def main() -> None:
    asked = arguments(__doc__, 20).parse_args()
    model, out = sfv.load(asked.model), asked.out
    six = grid(model, [read_picture(bundled(n)) for n in LOOPS], len(LOOPS), PLAYED)
    write_clip(six, out / "loops.webp", PLAYED)
    write_picture(contact_sheet([(n, over_dark(model, n)) for n in CLEAR]), out / "transparent.webp")
    found = pictures(asked.stills)
    names = drawn(found, asked.count, asked.seed)
    write_picture(contact_sheet([(n, row(model, found[n](), None)) for n in names]), out / "stills.webp")
    with tempfile.TemporaryDirectory() as folder:
        for line in compare(None, ("sticker", "sticker-teacher"), Settings(size="128", play_fps=8), Path(folder)):
            print(line)
        shutil.copy(Path(folder) / "side-by-side.webp", out / "side-by-side.webp")


if __name__ == "__main__":
    main()
