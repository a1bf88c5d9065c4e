"""One picture through several models, side by side."""

import json
import time
from collections.abc import Iterator, Sequence
from importlib.resources import files
from pathlib import Path

import sfv
from sfv.batch.clip_file import write
from sfv.batch.naming import check_writable, keep_others
from sfv.errors import SfvError
from sfv.generation.generate import generate
from sfv.limits import MAX_FRAMES
from sfv.media import contact_sheet, in_step, read_picture, side_by_side, write_clip, write_picture
from sfv.media.pictures import Uint8Picture
from sfv.media.sheets import Film
from sfv.settings import Settings, Speed
from sfv.speed.optimize import open_model
from sfv.types import Frames

COMPARISON = ("side-by-side.mp4", "side-by-side.webp", "frames.png")
SHEET = 14
"""Frames of a clip that a sheet shows, or a few more."""
Column = tuple[str, Film, float]
"""A clip with its caption and its frames a second."""


def compare(
    image: Path | None,
    models: Sequence[str],
    settings: Settings,
    out: Path,
    device: str = "auto",
    speed: Speed | None = None,
    overwrite: bool = False,
) -> Iterator[str]:
    """One picture through several models: a clip each, a side-by-side and a contact sheet; yields lines to print.

    Every model is run once to warm up, then timed. SfvError if a file is in the way that sfv did not write, unless
    `overwrite`.
    """
    if settings.transparent:
        raise SfvError("clips are compared over white; leave transparent out")
    picture = read_picture(image or example(), settings.background)
    check_writable(out)
    called = file_names(models)
    for path in (*(out / f"{one}.mp4" for one in called), *(out / name for name in COMPARISON)):
        keep_others(path, overwrite)
    columns: list[Column] = []
    for name, stem in zip(models, called, strict=True):
        start = time.perf_counter()
        model = open_model(name, device, speed)
        loading = {"load": time.perf_counter() - start}
        generate(model, picture, settings.model_copy(update={"steps": 1}))
        clip = generate(model, picture, settings)
        if not columns:
            columns.append(("still", still(clip.picture, len(clip.frames)), clip.fps))
        report = write(model, clip, out / f"{stem}.mp4", loading | clip.seconds)
        busy = sum(v for k, v in report["seconds"].items() if k != "load")
        steps = clip.settings.steps
        columns.append((f"{stem}: {steps} step{'s' * (steps != 1)}, {busy:.2f} s", clip.frames, clip.fps))
        stages = ", ".join(f"{k} {v:.3f} s" for k, v in report["seconds"].items())
        yield f"{report['out']}: {clip.calls} network call{'s' * (clip.calls > 1)}; {stages}"
    yield from _write_comparison(columns, out)


def file_names(models: Sequence[str]) -> list[str]:
    """The last part of each model's name, numbered where another, or the file of all, has it."""
    taken, found = {Path(COMPARISON[0]).stem}, list[str]()
    for model in models:
        stem, count = Path(model).name or "model", 1
        while (name := f"{stem}-{count}" if count > 1 else stem).lower() in taken:
            count += 1
        taken.add(name.lower())
        found.append(name)
    return found


def _write_comparison(columns: list[Column], out: Path) -> Iterator[str]:
    texts = [text for text, _, _ in columns]
    clips, rate = in_step([clip for _, clip, _ in columns], [own for _, _, own in columns], MAX_FRAMES)
    together = list(zip(texts, clips, strict=True))
    row = side_by_side(together)
    note = json.dumps({"sfv": sfv.__version__, "compares": texts})
    *films, sheet = (out / name for name in COMPARISON)
    for path in films:
        write_clip(row, path, rate, note)
    every = max(1, len(row) // SHEET)
    write_picture(contact_sheet(together[1:], every), sheet, note)
    yield f"{out / 'side-by-side.mp4'}: still, " + ", ".join(texts[1:])


def example() -> Path:
    """The bundled example picture."""
    return Path(str(files("sfv"))) / "examples" / "example.png"


def still(picture: Uint8Picture, frames: int) -> Frames:
    """A picture as a clip that does not move."""
    return picture[None].expand(frames, -1, -1, -1)
