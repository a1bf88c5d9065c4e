"""The note of parameters inside every clip that sfv wrote. Imports no torch: names of files are chosen by it."""

import json
import struct
from pathlib import Path
from typing import Any

import av
from PIL import Image, PngImagePlugin, UnidentifiedImageError

from sfv.errors import SfvError, reason

VIDEOS = (".mp4", ".webm")
"""Endings of videos that sfv writes."""
BROKEN = (SyntaxError, TypeError, KeyError, EOFError, struct.error, Image.DecompressionBombError)
"""What Pillow also raises for damaged headers."""

LENIENT: dict[str, Any] = {"metadata_errors": "replace"}
"""How videos are opened: titles that are not UTF-8 stop nothing."""


def read_note(path: Path) -> str:
    """The parameters that `write_clip` kept inside `path`; SfvError if there are none."""
    try:
        note = _note_of_video(path) if path.suffix.lower() in VIDEOS else _note_of_picture(path)
    except FileNotFoundError as error:
        raise SfvError(f"{path} does not exist; check the path") from error
    except (OSError, av.error.FFmpegError, UnidentifiedImageError, UnicodeDecodeError) as error:
        raise SfvError(f"{path} cannot be read ({reason(error)}); give a clip that sfv wrote") from error
    if not note:
        raise SfvError(f"{path} holds no sfv parameters; only clips that sfv wrote can be replayed")
    return note


def is_ours(path: Path) -> bool:
    """Whether a file that is there was written by sfv: it holds a note that says so. Nothing is decoded."""
    return bool(own_note(path))


def own_note(path: Path) -> dict[str, Any]:
    """What `write_clip` kept inside a file that is there; empty if sfv did not write it. Nothing is decoded."""
    try:
        note = _note_of_video(path) if path.suffix.lower() in VIDEOS else _note_of_picture(path)
        return kept if isinstance(kept := json.loads(note or "null"), dict) and "sfv" in kept else {}
    except (OSError, ValueError, av.error.FFmpegError, UnidentifiedImageError, *BROKEN):
        return {}


def is_whole(path: Path) -> bool:
    """Whether every frame of a clip can be decoded: one that was cut short cannot."""
    try:
        if path.suffix.lower() in VIDEOS:
            with av.open(str(path), **LENIENT) as container:
                return sum(1 for _ in container.decode(video=0)) > 0
        with Image.open(path) as picture:
            for frame in range(getattr(picture, "n_frames", 1)):
                picture.seek(frame)
                picture.load()
        return True
    except (OSError, ValueError, IndexError, av.error.FFmpegError, UnidentifiedImageError, *BROKEN):
        return False


def _note_of_video(path: Path) -> str:
    with av.open(str(path), **LENIENT) as container:
        return str(container.metadata.get("comment") or container.metadata.get("COMMENT", ""))


def _note_of_picture(path: Path) -> str:
    with Image.open(path) as picture:
        if isinstance(picture, PngImagePlugin.PngImageFile):
            return str(picture.info.get("sfv", ""))  # before the pixels; `text` would decode them all
        raw = picture.info.get("comment", picture.info.get("xmp", b""))
    return bytes(raw).decode()
