"""What the files of platforms are called. Imports no torch."""

from collections.abc import Sequence
from pathlib import Path

from sfv.batch.naming import check_name, expand, is_one_file, name_outputs
from sfv.errors import SfvError
from sfv.media.formats import colour
from sfv.platforms.request import settings_for
from sfv.platforms.table import PLATFORMS, platform
from sfv.settings import Settings

Plan = dict[str, list[Path]]
"""Platform -> a file of each picture."""


def plan_for(
    images: Sequence[Path],
    settings: Settings,
    platforms: Sequence[str],
    out: Path | None,
    overwrite: bool,
    name: str | None = None,
) -> tuple[list[Path], Plan]:
    """Pictures and what their files are called; SfvError for what contradicts, before anything is done.

    `name` is a template of {stem}, {platform} and {seed}.
    """
    colour(settings.background)
    names = list(dict.fromkeys(platforms))
    called = check_name("{stem}-{platform}" if name is None else name, "platform", "seed").replace(
        "{seed}", str(settings.seed)
    )
    if len(names) > 1 and "{platform}" not in called:
        raise SfvError(f"--name {name}: --for names {len(names)} platforms; put {{platform}} into it")
    for one in names:
        settings_for(settings, one, True)
    single = is_one_file(out, {p.format for p in PLATFORMS.values()})
    if single and name is not None:
        raise SfvError(f"--name {name} goes without --out {out}, which names the file; name a folder")
    if single and len(names) > 1:
        raise SfvError(f"--out {out} names one file, but --for names {len(names)} platforms; name a folder")
    if single and out is not None and out.suffix.lower() != f".{platform(names[0]).format}":
        raise SfvError(f"--out {out}: {names[0]} takes {platform(names[0]).format}; name it so, or a folder")
    pictures = expand(images)
    files, taken = Plan(), set[Path]()
    for n in names:
        template = called.replace("{platform}", n)
        files[n] = name_outputs(pictures, out, platform(n).format, "", overwrite, template, taken)
        taken |= set(files[n])
    return pictures, files
