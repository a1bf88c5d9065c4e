"""Several seeds of each picture, and one sheet of them to choose from."""

import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from jaxtyping import UInt8
from torch import Tensor

import sfv
from sfv.batch.clip_file import Report, make, write_finished
from sfv.batch.mask_file import MaskFile
from sfv.batch.naming import keep_others, source
from sfv.batch.seed_names import Row, of_seed, plan_seeds
from sfv.errors import SfvError, failure
from sfv.media import contact_sheet, write_picture
from sfv.settings import Settings, Speed
from sfv.speed.optimize import open_model
from sfv.system.progress import bar
from sfv.types import Frames

SHOWN = 8
"""Frames of a clip on the sheet."""
SIDE = 160
"""Pixels of their longer side, or a little more: whole pixels are left out."""


def animate_seeds(
    images: Sequence[Path],
    model: str,
    settings: Settings,
    seeds: Sequence[int],
    out: Path | None = None,
    format: str | None = None,
    device: str = "auto",
    speed: Speed | None = None,
    mask_file: MaskFile | None = None,
    overwrite: bool = False,
    name: str | None = None,
) -> Iterator[Report]:
    """A clip of every picture with every seed, then a sheet of a picture's clips, one row each; a report of every file.

    One bad picture is reported once and does not stop the rest. SfvError, before anything is written, if none can be.
    """
    rows = plan_seeds(images, settings, seeds, out, format, overwrite, name)
    mask = None if mask_file is None else mask_file.read()
    start = time.perf_counter()
    loaded = open_model(model, device, speed, len(rows) * len(seeds))
    seconds = {"load": time.perf_counter() - start}
    with bar(total=len(rows) * len(seeds), desc="animate", unit="clip", smoothing=0) as progress:
        for row in rows:
            picture, shown = row[0], list[tuple[str, Frames]]()
            try:
                for seed, target in zip(seeds, row[1], strict=True):
                    finished = make(loaded, picture, settings.model_copy(update={"seed": seed}), seconds, mask)
                    shown.append((f"seed {seed}", thumbnails(finished[1].frames)))
                    seconds = {}
                    progress.update()
                    yield write_finished(loaded, finished, target, overwrite, of_seed(name, seed))
                yield _sheet(row, shown, overwrite)
            except (SfvError, OSError) as error:
                files = 1 + len(seeds) - len(shown)  # the sheet too
                yield {"image": str(picture), "error": failure(error, picture), "files": files}


def thumbnails(frames: Frames) -> UInt8[Tensor, "_ _ _ 3"]:
    """A few frames, evenly spread, small."""
    at = torch.arange(SHOWN) * len(frames) // SHOWN
    step = max(1, max(frames.shape[1:3]) // SIDE)
    return frames[at][:, ::step, ::step]


def _sheet(row: Row, shown: list[tuple[str, Frames]], overwrite: bool) -> Report:
    picture, _, target = row
    start = time.perf_counter()
    keep_others(target, overwrite)
    write_picture(contact_sheet(shown), target, json.dumps({"sfv": sfv.__version__, "source": source(picture, target)}))
    return {
        "out": str(target),
        "image": str(picture),
        "sheet": [text for text, _ in shown],
        "calls": 0,
        "speed": {},
        "seconds": {"write": round(time.perf_counter() - start, 4)},
    }
