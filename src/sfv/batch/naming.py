"""Which files are read and what the files to be written are called."""

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

from sfv.errors import SfvError
from sfv.media.formats import PICTURE_ENDINGS, VIDEO_ENDINGS, check_see_through, colour
from sfv.settings import FORMATS, Settings

FOREIGN = (VIDEO_ENDINGS | PICTURE_ENDINGS) - {f".{format}" for format in FORMATS}
"""Endings of files that are read but not written."""
Pairs = Sequence[tuple[Path, Path]]
"""Picture files and the clip files to be made of them."""


def plan(images: Sequence[Path], settings: Settings, out: Path | None = None, format: str | None = None) -> Pairs:
    """What would be made of what; SfvError if there is nothing to do or it could not be written."""
    colour(settings.background)
    pictures = expand(images)
    targets = name_outputs(pictures, out, format, "webp" if settings.transparent else "mp4")
    if settings.transparent:
        check_see_through(targets[0])
    return list(zip(pictures, targets, strict=True))


def folder_of(pairs: Pairs) -> Path:
    """Where the manifest lies: the folder that holds all clips."""
    return Path(os.path.commonpath([target.parent.absolute() for _, target in pairs]))


def expand(images: Sequence[Path]) -> list[Path]:
    """Files as given; folders become their pictures in name order."""
    found: list[Path] = []
    for path in images:
        if path.is_dir():
            inside = sorted(p for p in path.iterdir() if p.suffix.lower() in PICTURE_ENDINGS)
            if not inside:
                raise SfvError(f"{path} holds no pictures; supported endings: {', '.join(sorted(PICTURE_ENDINGS))}")
            found += inside
        else:
            found.append(path)
    if not found:
        raise SfvError("no pictures given; name files or a folder, such as: sfv generate cat.png")
    if not any(path.exists() for path in found):
        raise SfvError(f"{found[0]} does not exist; check the path")
    return found


def name_outputs(pictures: list[Path], out: Path | None, format: str | None, usual: str = "mp4") -> list[Path]:
    """One target per picture, distinct, no source, `usual` if no kind is named; parents exist and can be written."""
    if out is not None and not out.is_dir() and out.suffix.lower() in FOREIGN:
        raise SfvError(f"--out {out}: {out.suffix} cannot be written; use one of {', '.join(FORMATS)}, or a folder")
    single = out is not None and out.suffix.lower().lstrip(".") in FORMATS and not out.is_dir()
    if single and out is not None:
        if len(pictures) > 1:
            raise SfvError(f"--out {out} names one file, but there are {len(pictures)} pictures; name a folder")
        if format and out.suffix.lower() != f".{format}":
            raise SfvError(f"--format {format} contradicts --out {out}; give one of them")
        targets = [out]
    else:
        targets = _distinct(pictures, out, format or usual)
    there = {t.resolve() for t in targets if t.exists()}
    if clash := there and there & {p.resolve() for p in pictures}:
        raise SfvError(f"{clash.pop()} is a source picture and would be overwritten; choose another --out or --format")
    for folder in {t.parent for t in targets}:
        check_writable(folder)
    return targets


def _distinct(pictures: list[Path], out: Path | None, format: str) -> list[Path]:
    """cat.png and cat.jpg become cat.mp4 and cat-2.mp4."""
    targets: dict[Path, None] = {}
    for picture in pictures:
        folder, stem, count = out or picture.parent, picture.stem, 1
        while (target := folder / f"{stem}{f'-{count}' if count > 1 else ''}.{format}") in targets:
            count += 1
        targets[target] = None
    return list(targets)


def check_writable(folder: Path) -> None:
    """Make the folder if needed, and fail before any work if nothing can be written there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".sfv-{os.getpid()}-{hashlib.sha256(str(folder).encode()).hexdigest()[:8]}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise SfvError(f"{folder} cannot be written ({error.strerror}); choose another folder with --out") from error
