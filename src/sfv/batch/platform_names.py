"""What the files of platforms are called. Imports no torch."""

from collections.abc import Sequence
from pathlib import Path

from sfv.batch.naming import expand, name_outputs
from sfv.errors import SfvError
from sfv.media.formats import colour
from sfv.platforms.request import settings_for
from sfv.platforms.table import PLATFORMS, platform
from sfv.settings import Settings

Plan = dict[str, list[Path]]
"""Platform -> a file of each picture."""


def plan_for(
    images: Sequence[Path], settings: Settings, platforms: Sequence[str], out: Path | None, overwrite: bool
) -> tuple[list[Path], Plan]:
    """Pictures and what their files are called; SfvError for what contradicts, before anything is done."""
    colour(settings.background)
    names = list(dict.fromkeys(platforms))
    for name in names:
        settings_for(settings, name, True)
    single = out is not None and out.suffix.lower().lstrip(".") in {p.format for p in PLATFORMS.values()}
    if single and len(names) > 1:
        raise SfvError(f"--out {out} names one file, but --for names {len(names)} platforms; name a folder")
    if single and out is not None and out.suffix.lower() != f".{platform(names[0]).format}":
        raise SfvError(f"--out {out}: {names[0]} takes {platform(names[0]).format}; name it so, or a folder")
    pictures = expand(images)
    files = {n: name_outputs(pictures, out, platform(n).format, "", overwrite, f"-{n}") for n in names}
    return pictures, files
