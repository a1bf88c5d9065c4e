"""Where videos come from: folders, globs, manifests, WebDataset tars. Finds and names; decodes nothing."""

import codecs
import csv
import glob
import json
import os
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from sfv.errors import SfvError, reason
from sfv.media import VIDEO_ENDINGS

MAX_MEMBER = 2 << 30
"""Bytes that a video inside a tar may have: it is held in memory while it is decoded."""


@dataclass(frozen=True)
class Source:
    """One video: a file, or a member of a tar (its bytes lie at `offset`)."""

    id: str
    path: str
    offset: int = 0
    size: int = 0
    member: str = ""

    def open(self) -> Path | bytes:
        """What a reader takes; SfvError if the member is too large."""
        if not self.member:
            return Path(self.path)
        if self.size > MAX_MEMBER:
            raise SfvError(f"{self.id} has {self.size >> 20} MB; members of a tar may have {MAX_MEMBER >> 20}")
        with open(self.path, "rb") as tar:
            tar.seek(self.offset)
            return tar.read(self.size)


def find(places: Sequence[str]) -> list[Source]:
    """Every video in `places`, sorted and distinct by path.

    A place is a folder (searched to the bottom), a video file, a glob, a CSV with a column "path", a JSONL of
    objects with "path", or a tar. Paths in a manifest are relative to it. Raises SfvError for a place without videos.
    """
    found: dict[tuple[str, str], Source] = {}
    for place in places:
        some = list(_in_place(place))
        if not some:
            raise SfvError(f"{place} holds no videos; supported endings: {', '.join(sorted(VIDEO_ENDINGS))}")
        found |= {(s.path, s.member): s for s in some}
    return [found[k] for k in sorted(found)]


def _in_place(place: str) -> Iterator[Source]:
    path = Path(place)
    if path.is_dir():
        yield from (_file(p) for p in sorted(_walked(path)) if _is_video(p))
    elif not path.exists():
        matches = [Path(p) for p in sorted(glob.glob(place, recursive=True))]
        if not matches:
            raise SfvError(f"{place} does not exist and matches nothing; name a folder, a glob, a manifest or a tar")
        for match in matches:
            yield from _in_place(str(match))
    elif path.suffix.lower() in (".csv", ".jsonl"):
        yield from _in_manifest(path)
    elif path.suffix.lower() == ".tar":
        yield from _in_tar(path)
    else:
        yield _file(path)


def _walked(folder: Path) -> Iterator[Path]:
    """Every file below a folder, through links too, each real folder once; nothing that is hidden."""
    seen: set[str] = set()
    for place, inside, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(place)
        inside[:] = [] if real in seen else sorted(n for n in inside if not n.startswith("."))
        if real not in seen:
            yield from (Path(place) / n for n in names if not n.startswith("."))
        seen.add(real)


def _is_video(path: Path) -> bool:
    return path.is_file() and path.suffix.lower() in VIDEO_ENDINGS


def _file(path: Path) -> Source:
    return Source(str(path), str(path.absolute()))


def _in_manifest(path: Path) -> Iterator[Source]:
    try:
        with open(path, newline="", encoding=_encoding(path)) as file:
            lines = _rows(file) if path.suffix.lower() == ".csv" else _objects(file)
            for number, row in enumerate(lines, 1):
                if not isinstance(row, dict) or not row.get("path"):
                    columns = f" (columns: {', '.join(map(str, row))})" if isinstance(row, dict) else ""
                    raise SfvError(f'{path}, entry {number}, has no "path"{columns}; every entry needs one')
                yield _file(path.parent / str(row["path"]).strip())
    except UnicodeDecodeError as error:
        raise SfvError(f"{path} is not text in UTF-8; save it once more as UTF-8 (in Excel: CSV UTF-8)") from error
    except (OSError, ValueError, csv.Error) as error:
        raise SfvError(f"{path} cannot be read as a manifest ({reason(error)})") from error


def _encoding(path: Path) -> str:
    """UTF-16 if it says so, as Excel's "Unicode Text" does, else UTF-8, with a byte-order mark or without."""
    with open(path, "rb") as file:
        return "utf-16" if file.read(2) in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE) else "utf-8-sig"


def _rows(file: TextIO) -> Iterator[dict[str, str]]:
    """A CSV as people write them: commas, semicolons or tabs; a head in any case, perhaps after empty lines."""
    head = next(filter(str.strip, file), "")
    comma = max(",;\t", key=head.count)
    if comma not in head:  # one column: commas belong to the paths
        comma = "\x1f"
    names = [name.strip().lower() for name in next(csv.reader([head], delimiter=comma, skipinitialspace=True), [])]
    for row in csv.reader(file, delimiter=comma, skipinitialspace=True):
        if any(cell.strip() for cell in row):
            yield dict(zip(names, row, strict=False))


def _objects(file: TextIO) -> Iterator[Any]:
    """A JSONL's lines; ValueError names one that is no JSON."""
    for number, line in enumerate(file, 1):
        try:
            if line.strip():
                yield json.loads(line)
        except json.JSONDecodeError as error:
            raise ValueError(f"line {number} is not JSON: {error.msg.lower()}") from error


def _in_tar(path: Path) -> Iterator[Source]:
    try:
        with tarfile.open(path, "r:") as tar:
            for member in tar:
                if member.isfile() and Path(member.name).suffix.lower() in VIDEO_ENDINGS:
                    id_ = f"{path}/{member.name}"
                    yield Source(id_, str(path.absolute()), member.offset_data, member.size, member.name)
    except (OSError, tarfile.TarError) as error:
        raise SfvError(f"{path} is not a readable tar ({error})") from error
