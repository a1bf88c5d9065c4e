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
from sfv.generation.clip import Clip
from sfv.generation.generate import generate
from sfv.media import contact_sheet, read_picture, side_by_side, write_clip, write_picture
from sfv.media.pictures import Uint8Picture
from sfv.settings import Settings, Speed
from sfv.speed.optimize import open_model
from sfv.types import Frames

COMPARISON = ("side-by-side.mp4", "side-by-side.webp", "frames.png")
SHEET = 14
"""Frames of a clip that a sheet shows, or a few more."""


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
    out.mkdir(parents=True, exist_ok=True)
    check_writable(out)
    for path in (*(out / f"{Path(name).name}.mp4" for name in models), *(out / name for name in COMPARISON)):
        keep_others(path, overwrite)
    columns: list[tuple[str, Frames]] = []
    first: Clip | None = None
    for name in models:
        start = time.perf_counter()
        model = open_model(name, device, speed)
        loading = {"load": time.perf_counter() - start}
        generate(model, picture, settings.model_copy(update={"steps": 1}))
        clip = generate(model, picture, settings)
        if first is None:
            first = clip
            columns.append(("still", still(clip.picture, len(clip.frames))))
        report = write(model, clip, out / f"{Path(name).name}.mp4", loading | clip.seconds)
        busy = sum(v for k, v in report["seconds"].items() if k != "load")
        steps = clip.settings.steps
        columns.append((f"{Path(name).name}: {steps} step{'s' * (steps != 1)}, {busy:.2f} s", clip.frames))
        stages = ", ".join(f"{k} {v:.3f} s" for k, v in report["seconds"].items())
        yield f"{report['out']}: {clip.calls} network call(s); {stages}"
    yield from _write_comparison(columns, first, out)


def _write_comparison(columns: list[tuple[str, Frames]], first: Clip | None, out: Path) -> Iterator[str]:
    assert first is not None
    row = side_by_side(columns)
    note = json.dumps({"sfv": sfv.__version__, "compares": [text for text, _ in columns]})
    *clips, sheet = (out / name for name in COMPARISON)
    for path in clips:
        write_clip(row, path, first.fps, note)
    every = max(1, len(first.frames) // SHEET)
    write_picture(contact_sheet(columns[1:], every), sheet, note)
    yield f"{out / 'side-by-side.mp4'}: still, " + ", ".join(text for text, _ in columns[1:])


def example() -> Path:
    """The bundled example picture."""
    return Path(str(files("sfv"))) / "examples" / "example.png"


def still(picture: Uint8Picture, frames: int) -> Frames:
    """A picture as a clip that does not move."""
    return picture[None].expand(frames, -1, -1, -1)
