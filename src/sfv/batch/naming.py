"""Which files are read and what the files to be written are called."""

import hashlib
import os
import re
from collections.abc import Collection, Sequence
from pathlib import Path

from sfv import media
from sfv.batch.manifest import was_cut_short
from sfv.errors import SfvError, reason
from sfv.media import drawings
from sfv.media.formats import PICTURE_ENDINGS, VIDEO_ENDINGS, check_see_through, colour
from sfv.settings import FORMATS, Settings

FOREIGN = (VIDEO_ENDINGS | PICTURE_ENDINGS) - {f".{format}" for format in FORMATS}
"""Endings of files that are read but not written."""
NAMED = 20
"""Files of a folder that are named, of those left out."""
STEM = "{stem}"
"""What a clip is called if nothing else is said: as its picture."""
LONGEST = 255
"""Bytes that a file's name may have."""
Pairs = Sequence[tuple[Path, Path]]
"""Picture files and the clip files to be made of them."""


def plan(
    images: Sequence[Path],
    settings: Settings,
    out: Path | None = None,
    format: str | None = None,
    overwrite: bool = False,
    name: str | None = None,
) -> Pairs:
    """What would be made of what; SfvError if there is nothing to do or it could not be written.

    A file that sfv did not write is not replaced, unless `overwrite`: the clip takes another name. `name` is a
    template of {stem} and {seed}.
    """
    colour(settings.background)
    pictures, called = expand(images), named(name, settings)
    if name is not None and is_one_file(out, FORMATS):
        raise SfvError(f"--name {name} goes without --out {out}, which names the file; name a folder")
    targets = name_outputs(pictures, out, format, "webp" if settings.transparent else "mp4", overwrite, called)
    if settings.transparent:
        check_see_through(targets[0])
    return list(zip(pictures, targets, strict=True))


def named(name: str | None, settings: Settings) -> str:
    """The template of one clip of each picture: {stem} alone is left in it."""
    return check_name(STEM if name is None else name, "seed").replace("{seed}", str(settings.seed))


def check_name(name: str, *fields: str) -> str:
    """A template of files' names without their ending; SfvError for one that is none, or has other fields than {stem}
    and these."""
    known = [STEM, *(f"{{{field}}}" for field in fields)]
    rest = name
    for field in known:
        rest = rest.replace(field, "")
    if odd := re.search(r"\{[^{}]*\}|[{}]", rest):
        raise SfvError(f"--name {name}: {odd[0]} is not known; use {' and '.join(known)}")
    if not name.strip() or name.startswith(".") or any(c in "/\\" or not c.isprintable() for c in name):
        raise SfvError(f"--name {name!r} is no file's name; write one without folders, such as {{stem}}-{{seed}}")
    if (ending := Path(name).suffix.lower().lstrip(".")) in FORMATS:
        raise SfvError(f"--name {name}: the ending comes from --format; leave .{ending} out")
    return name


def folder_of(pairs: Pairs) -> Path:
    """Where the manifest lies: the folder that holds all clips."""
    return Path(os.path.commonpath([target.parent.absolute() for _, target in pairs]))


def expand(images: Sequence[Path]) -> list[Path]:
    """Files as given; folders become their pictures in name order. Of several files, those that sfv wrote are left out,
    as they are of a folder; one alone is taken."""
    found: list[Path] = []
    theirs = [path for path in images if len(images) == 1 or not _is_made(path)]
    if images and not theirs:
        raise SfvError(f"{images[0]} and what follows it are clips or sheets of sfv; name one alone to animate it")
    for path in theirs:
        if os.path.isdir(path):
            inside = [p for p in _in_folder(path) if _is_picture(p)]
            if not inside:
                raise SfvError(f"{path} holds no pictures; supported endings: {', '.join(sorted(PICTURE_ENDINGS))}")
            found += inside
        else:
            found.append(path)
    if not found:
        raise SfvError("no pictures given; name files or a folder, such as: sfv generate cat.png")
    if not any(os.path.exists(path) for path in found):
        raise SfvError(f"{found[0]} does not exist, or may not be seen; check the path")
    if all(path.suffix.lower() in drawings.ENDINGS for path in found) and not drawings.can_draw():
        raise drawings.needs_resvg(str(found[0]))
    return found


def _in_folder(folder: Path) -> list[Path]:
    """What is in a folder, by name; SfvError where that may not be seen."""
    try:
        return sorted(folder.iterdir())
    except OSError as error:
        raise SfvError(f"{folder} cannot be listed ({reason(error)}); ask for the right to read it") from error


def left_out(images: Sequence[Path]) -> list[str]:
    """One line for each folder of which files were not taken, and for several files given: which, and why; hidden files
    and folders inside are passed over."""
    made = [str(p) for p in images if len(images) > 1 and _is_made(p)]
    said = made[:NAMED] + [f"{len(made) - NAMED} more"] * (len(made) > NAMED)
    lines = [f"left out {', '.join(said)} (clips or sheets of sfv)"] if made else []
    for folder in [p for p in images if os.path.isdir(p)]:
        files = [p for p in _in_folder(folder) if not (p.name.startswith(".") or os.path.isdir(p) or _is_picture(p))]
        said = [f"{p.name} ({_why_not(p)})" for p in files[:NAMED]]
        said += [f"{len(files) - NAMED} more"] * (len(files) > NAMED)
        if said:
            lines.append(f"{folder}: left out {', '.join(said)}")
    return lines


def _why_not(path: Path) -> str:
    ending = path.suffix.lower()
    if not os.path.isfile(path):
        return "no file" if os.path.exists(path) else "a link to nothing"
    if _is_made(path):
        return "a clip or sheet of sfv"
    return "a video" if ending in VIDEO_ENDINGS else "no picture"


def _is_picture(path: Path) -> bool:
    """A file of a folder that may be a picture: none that is hidden (as macOS' `._cat.png`), none that sfv wrote."""
    seems = path.suffix.lower() in PICTURE_ENDINGS and not path.name.startswith(".") and os.path.isfile(path)
    return seems and not _is_made(path)


def _is_made(path: Path) -> bool:
    """A file that sfv wrote."""
    return path.suffix.lower().lstrip(".") in FORMATS and os.path.isfile(path) and media.is_ours(path)


def name_outputs(
    pictures: list[Path],
    out: Path | None,
    format: str | None,
    usual: str = "mp4",
    overwrite: bool = False,
    stem: str = STEM,
    taken: Collection[Path] = (),
) -> list[Path]:
    """One target per picture, distinct, no source, `usual` if no kind is named; parents exist and can be written.

    None is a file that sfv did not write, unless `overwrite`, nor one of those `taken` by other files of the run.
    `stem` is the template of names, in which {stem} is the picture's.
    """
    if out is not None and not os.path.isdir(out) and out.suffix.lower() in FOREIGN:
        raise SfvError(f"--out {out}: {out.suffix} cannot be written; use one of {', '.join(FORMATS)}, or a folder")
    if out is not None and is_one_file(out, FORMATS):
        if len(os.fsencode(out.name)) > LONGEST:
            raise SfvError(f"--out {out}: the name is longer than {LONGEST} bytes; give a shorter one")
        if len(pictures) > 1:
            raise SfvError(f"--out {out} names one file, but there are {len(pictures)} pictures; name a folder")
        if format and out.suffix.lower() != f".{format}":
            raise SfvError(f"--format {format} contradicts --out {out}; give one of them")
        targets = [out]
        keep_others(out, overwrite)
    else:
        targets = _distinct(pictures, out, format or usual, overwrite, stem, taken)
    there = {t.resolve() for t in targets if os.path.exists(t)}
    if clash := there and there & {p.resolve() for p in pictures}:
        raise SfvError(f"{clash.pop()} is a source picture and would be overwritten; choose another --out or --format")
    for folder in {t.parent for t in targets}:
        check_writable(folder)
    return targets


def is_one_file(out: Path | None, formats: Collection[str]) -> bool:
    """Whether --out names a file of one of these formats, and not a folder."""
    return out is not None and out.suffix.lower().lstrip(".") in formats and not os.path.isdir(out)


def is_own(target: Path) -> bool:
    """Whether sfv wrote what is there: by the note inside, or, of a clip that was cut short, by the manifest."""
    return media.is_ours(target) or (was_cut_short(target) and not media.is_whole(target))


def is_clip_of(target: Path, picture: Path) -> bool:
    """Whether sfv wrote what is there, and of this picture as far as its note says."""
    return is_own(target) and media.own_note(target).get("source") in (None, source(picture, target))


def source(picture: Path, target: Path) -> str:
    """16 hex digits for the way from a clip to its picture, kept inside the clip instead of the names of folders."""
    way = os.path.relpath(picture.absolute(), target.absolute().parent)
    return hashlib.sha256(os.fsencode(way)).hexdigest()[:16]


def keep_others(target: Path, overwrite: bool) -> None:
    """SfvError if a file is there that sfv did not write."""
    if not overwrite and os.path.lexists(target) and not is_own(target):
        raise SfvError(f"{target} is there and was not written by sfv; choose another --out, or give --overwrite")


def _distinct(
    pictures: list[Path], out: Path | None, format: str, overwrite: bool, called: str, taken: Collection[Path]
) -> list[Path]:
    """cat.png and cat.jpg become cat.mp4 and cat-2.mp4; so does cat.png beside somebody else's cat.mp4.

    Cat.png and cat.png are one name on macOS and Windows, so they are kept apart everywhere. So are a/cat.png and
    b/cat.png, in later runs too.
    """
    targets: dict[str, Path] = {}
    sources, others = {p.absolute() for p in pictures}, {str(path).lower() for path in taken}
    for picture in pictures:
        folder, stem, count = out or picture.parent, called.replace(STEM, picture.stem), 1
        while (
            str(target := folder / _named(stem, count, format)).lower() in targets
            or str(target).lower() in others
            or target.absolute() in sources
            or not (overwrite or not os.path.lexists(target) or is_clip_of(target, picture))
        ):
            count += 1
        targets[str(target).lower()] = target
    return list(targets.values())


def _named(stem: str, count: int, format: str) -> str:
    """The count-th name of a clip, of at most 255 bytes."""
    end = f"-{count}.{format}" if count > 1 else f".{format}"
    while len(os.fsencode(stem + end)) > LONGEST:
        stem = stem[:-1]
    return stem + end


def check_writable(folder: Path) -> None:
    """Make the folder if needed, and fail before any work if nothing can be written there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".sfv-{os.getpid()}-{hashlib.sha256(str(folder).encode()).hexdigest()[:8]}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise SfvError(f"{folder} cannot be written ({error.strerror}); choose another folder with --out") from error
