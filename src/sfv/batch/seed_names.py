"""Several seeds of each picture: which, and what their files are called. Imports no torch."""

import os
import re
from collections.abc import Sequence
from pathlib import Path

from sfv.batch.naming import check_name, expand, name_outputs
from sfv.errors import SfvError
from sfv.media.formats import check_see_through, colour
from sfv.settings import Settings

MOST = 64
"""Seeds at once."""
Row = tuple[Path, list[Path], Path]
"""A picture, a clip of each seed, and their sheet."""


def read_seeds(text: str) -> list[int]:
    """ "1-8" or "3,7,12" or both; SfvError for anything else."""
    seeds: list[int] = []
    for part in text.split(","):
        found = re.fullmatch(r"\s*(\d+)\s*(?:-\s*(\d+)\s*)?", part)
        first, last = (int(found[1]), int(found[2] or found[1])) if found else (1, 0)
        if not found or last < first:
            raise SfvError(f"--seeds {text}: {part.strip() or text!r} is no seed; write 1-8, or 3,7,12")
        if last - first >= MOST:
            raise SfvError(f"--seeds {text}: at most {MOST} seeds at once")
        seeds += range(first, last + 1)
    seeds = list(dict.fromkeys(seeds))
    if len(seeds) > MOST or max(seeds) >= 2**63:
        raise SfvError(f"--seeds {text}: at most {MOST} seeds at once, each below 2^63")
    return seeds


def plan_seeds(
    images: Sequence[Path],
    settings: Settings,
    seeds: Sequence[int],
    out: Path | None,
    format: str | None,
    force: bool,
    name: str | None = None,
) -> list[Row]:
    """cat.png -> cat-seed1.mp4, cat-seed2.mp4, ... and cat-seeds.png, all distinct; SfvError before anything is done.

    `force` overwrites. `name` is a template in which {seed} becomes the number, and "seeds" for the sheet.
    """
    colour(settings.background)
    if name is not None and "{seed}" not in check_name(name, "seed"):
        raise SfvError(f"--name {name}: --seeds makes {len(seeds)} clips of a picture; put {{seed}} into it")
    if out is not None and out.suffix and not os.path.isdir(out):
        raise SfvError(f"--out {out} names one file, but --seeds makes {len(seeds)} clips and a sheet; name a folder")
    pictures, usual = expand(images), "webp" if settings.transparent else "mp4"
    columns, taken = list[list[Path]](), set[Path]()
    for seed in seeds:
        columns.append(name_outputs(pictures, out, format, usual, force, of_seed(name, seed), taken))
        taken |= set(columns[-1])
    if settings.transparent:
        check_see_through(columns[0][0])
    of_sheet = (name or "{stem}-{seed}").replace("{seed}", "seeds")
    sheets = name_outputs(pictures, out, "png", "png", force, of_sheet, taken)
    return [(p, [c[i] for c in columns], sheets[i]) for i, p in enumerate(pictures)]


def of_seed(name: str | None, seed: int) -> str:
    """The template of one seed's clips."""
    return (name or "{stem}-seed{seed}").replace("{seed}", str(seed))
