"""Files in, files out: many pictures through one model, replays, side-by-sides. Knows generate and media."""

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import sfv
from sfv.batch.clip_file import Report, make, write_finished
from sfv.batch.manifest import Manifest
from sfv.batch.mask_file import MaskFile
from sfv.batch.naming import STEM, Pairs, folder_of, named, plan
from sfv.errors import SfvError, failure
from sfv.families.base import VideoModel
from sfv.families.load import weights_hash
from sfv.media.pictures import Uint8Picture
from sfv.settings import Settings, Speed
from sfv.speed.optimize import open_model
from sfv.system.progress import bar


def animate_files(
    images: Sequence[Path],
    model: str,
    settings: Settings,
    out: Path | None = None,
    format: str | None = None,
    device: str = "auto",
    speed: Speed | None = None,
    resume: bool = False,
    mask_file: MaskFile | None = None,
    overwrite: bool = False,
    name: str | None = None,
) -> Iterator[Report]:
    """Animate every picture (folders are searched); yields a report per clip, or one with "error" and goes on.

    A clip is written while the next one is made. With `resume`, a manifest is kept beside the clips, and what it says
    is done and whole is left as it is. `mask_file` says what keeps still in all of them. Files that sfv did not write
    are replaced with `overwrite` alone. `name` is a template of their names, such as {stem}-{seed}.
    Raises SfvError before anything is written if there is nothing to do or the output cannot be written.
    """
    pairs = plan(images, settings, out, format, overwrite, name)
    mask = None if mask_file is None else mask_file.read()
    book = Manifest(folder_of(pairs), digest(model, settings, speed, mask_file)) if resume else None
    left = book.left(pairs) if book else pairs
    if not left:
        return
    start = time.perf_counter()
    loaded = open_model(model, device, speed, len(left))
    seconds = {"load": time.perf_counter() - start}
    with bar(total=len(pairs), initial=len(pairs) - len(left), **_bar(len(pairs))) as shown:
        for report in animate_pairs(loaded, left, settings, seconds, mask, overwrite, named(name, settings)):
            shown.update()
            if book:
                book.add(report)
            yield report


def _bar(clips: int) -> dict[str, Any]:
    """How progress is shown; not for one clip."""
    return {"desc": "animate", "unit": "clip", "disable": clips == 1, "smoothing": 0}


def digest(model: str, settings: Settings, speed: Speed | None = None, mask: MaskFile | None = None) -> str:
    """16 hex digits over all that decides a clip but its picture: version, weights, settings, speed, mask."""
    parts = [sfv.__version__, weights_hash(model), settings.model_dump(), (speed or Speed()).model_dump()]
    if mask is not None:
        parts.append(hashlib.sha256(mask.bytes()).hexdigest())
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def animate_pairs(
    model: VideoModel,
    pairs: Pairs,
    settings: Settings,
    before: dict[str, float] | None = None,
    mask: Uint8Picture | None = None,
    overwrite: bool = False,
    stem: str = STEM,
) -> Iterator[Report]:
    """A loaded model's clip of each picture, in order; a clip is written while the next one is made."""
    seconds = before or {}
    with ThreadPoolExecutor(1) as writer:
        waiting: Future[Report] | None = None
        for picture, target in pairs:
            finished = _tried(picture, partial(make, model, picture, settings, seconds, mask))
            if waiting is not None:
                yield waiting.result()
            waiting = writer.submit(_tried, picture, partial(write_finished, model, finished, target, overwrite, stem))
            seconds = {}
        if waiting is not None:
            yield waiting.result()


def _tried(picture: Path, work: Callable[[], Any]) -> Any:
    """What the work gives, or a report of what went wrong with this picture."""
    try:
        return work()
    except (SfvError, OSError) as error:
        return {"image": str(picture), "error": failure(error, picture)}
