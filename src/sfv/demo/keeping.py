"""Clips of the page as files to keep; what is wrong with one is said in the page's words, without places or flags."""

import json
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sfv
from sfv.batch.clip_file import note
from sfv.errors import SfvError
from sfv.families.base import VideoModel
from sfv.generation.clip import Clip
from sfv.limits import ModelLimits, resolve, shown
from sfv.media import write_clip
from sfv.platforms.request import settings_for, without_size
from sfv.platforms.table import platform
from sfv.platforms.write import write_for
from sfv.settings import SEE_THROUGH, Settings


def check_format(settings: Settings, format: str) -> None:
    """SfvError for a transparent clip in a format that is always opaque."""
    if settings.transparent and format not in SEE_THROUGH:
        known = ", ".join(SEE_THROUGH)
        raise SfvError(f"format: {format} holds no transparency; choose one of {known}, or an opaque clip")


def platform_settings(settings: Settings, name: str, model: ModelLimits) -> Settings:
    """What the clip of a messenger's file is asked for; SfvError for one that lasts longer than the messenger takes."""
    wanted, most = without_size(settings), platform(name).most_seconds
    full = resolve(wanted, model)
    count, fps = (shown(full), full.play_fps or full.fps) if full.boomerang else (full.frames, full.fps)
    if (seconds := int(count or 0) / float(fps or 1)) > most + 1e-6:
        raise SfvError(
            f"length: {name} takes {most:g} s at most, and this clip would last {seconds:.3g} s; choose a shorter "
            "length, or more frames a second"
        )
    return settings_for(wanted, name, model.loops)


def fitting(clip: Clip, name: str) -> bytes:
    """The bytes of the best file under a platform's limits."""
    with _passing_file(platform(name).format) as path:
        write_for(clip, name, path, json.dumps({"sfv": sfv.__version__, "for": name}))
        return path.read_bytes()


def written(model: VideoModel, clip: Clip, format: str) -> bytes:
    """The bytes of a file, with the parameters inside that `sfv replay` reads."""
    with _passing_file(format) as path:
        frames = clip.frames if clip.alpha is None else clip.stickers()
        write_clip(frames, path, clip.fps, note(model, clip))
        return path.read_bytes()


def for_page(sentence: str) -> str:
    """A sentence that names flags of the command line, in words of the page: --play-fps is play fps."""
    return re.sub(r"--([a-z]+(?:-[a-z]+)*)", lambda found: found[1].replace("-", " "), sentence)


@contextmanager
def _passing_file(format: str) -> Iterator[Path]:
    """A place for a file that is read back at once; errors do not say where it is."""
    with tempfile.TemporaryDirectory(prefix="sfv-") as folder:
        path = Path(folder) / f"clip.{format}"
        try:
            yield path
        except SfvError as error:
            raise SfvError(str(error).replace(str(path), "the clip")) from error
