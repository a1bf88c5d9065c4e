"""One picture file -> one clip file, with the parameters inside that make it again."""

import json
import os
import time
from pathlib import Path
from typing import Any

import sfv
from sfv.batch.naming import STEM, is_clip_of, is_own, keep_others, source
from sfv.families.base import VideoModel
from sfv.generation.clip import Clip
from sfv.generation.generate import generate
from sfv.limits import caution
from sfv.media import own_note, read_picture, read_sticker, to_note, write_clip
from sfv.media.clips import FASTEST, frame_times
from sfv.media.pictures import Uint8Picture
from sfv.settings import Settings
from sfv.system.progress import bar

Report = dict[str, Any]
Finished = tuple[Path, Clip, dict[str, float]]
"""A picture's file, its clip and the seconds so far."""


def write_finished(
    model: VideoModel, finished: Finished | Report, target: Path, overwrite: bool = False, stem: str = STEM
) -> Report:
    """Write what was made; a report of an earlier error stays one.

    SfvError if a file has come there meanwhile that sfv did not write. The report says "kept" if such a file, or
    another picture's clip, has the name that the clip would have had: `stem`, in which {stem} is the picture's.
    """
    if isinstance(finished, dict):
        return finished
    picture, clip, seconds = finished
    keep_others(target, overwrite)
    usual = target.with_name(stem.replace(STEM, picture.stem) + target.suffix)
    kept = {} if usual == target or not os.path.exists(usual) else _kept(usual, picture)
    mark, before = source(picture, target), own_note(target) if os.path.exists(target) else {}
    return (
        write(model, clip, target, seconds, mark)
        | {"image": str(picture)}
        | kept
        | _replaced(target, before, clip, mark)
    )


def _replaced(target: Path, before: dict[str, Any], clip: Clip, mark: str) -> Report:
    """What was in the place of a new clip, if it was another clip of ours: of another picture, or made otherwise."""
    if not before:
        return {}
    if before.get("source") not in (None, mark):
        return {"replaced": f"{target} replaces sfv's clip of another picture"}
    old, new = before.get("settings", {}), clip.settings.model_dump()
    changed = [f"{k} {_plain(v)}" for k, v in old.items() if k in new and v != new[k] and k not in ("height", "width")]
    return {"replaced": f"{target} replaces sfv's earlier clip of {', '.join(changed)}"} if changed else {}


def _plain(value: Any) -> str:
    """A setting as it is given."""
    return f"{value:g}" if isinstance(value, float) else str(value)


def _kept(usual: Path, picture: Path) -> Report:
    """Why a clip did not get its usual name."""
    if not is_own(usual):
        return {"kept": f"{usual} was not written by sfv and is left as it is"}
    return {} if is_clip_of(usual, picture) else {"kept": f"{usual} is another picture's clip and is left as it is"}


def animate_file(
    model: VideoModel, picture: Path, settings: Settings, target: Path, before: dict[str, float] | None = None
) -> Report:
    """One picture file to one clip file; `before` are seconds already spent on it."""
    return write_finished(model, make(model, picture, settings, before or {}), target)


def make(
    model: VideoModel, picture: Path, settings: Settings, before: dict[str, float], mask: Uint8Picture | None = None
) -> Finished:
    """One picture file's clip, not yet written."""
    start = time.perf_counter()
    pixels = read_sticker(picture) if settings.transparent else read_picture(picture, settings.background)
    read = time.perf_counter() - start
    steps = settings.steps or model.defaults.steps
    with bar(total=steps, desc=picture.name, unit="call", leave=False, disable=steps < 4) as shown:
        clip = generate(model, pixels, settings, watch=lambda done, _: shown.update(), keep_still=mask)
    return picture, clip, before | {"read": read} | clip.seconds


def write(model: VideoModel, clip: Clip, target: Path, seconds: dict[str, float], mark: str | None = None) -> Report:
    """Write a clip's file; the report names it, its model, its settings and the seconds of every stage.

    `mark` says of which picture the clip is (naming.source).
    """
    start = time.perf_counter()
    kept = {} if mark is None else {"source": mark}
    write_clip(clip.frames if clip.alpha is None else clip.stickers(), target, clip.fps, note(model, clip, **kept))
    seconds = seconds | {"write": time.perf_counter() - start}
    return {
        "out": str(target),
        **_fewer(target, clip),
        "model": model.name,
        "hash": model.hash,
        "speed": model.speed,
        "calls": clip.calls,
        "seconds": {k: round(v, 4) for k, v in seconds.items()},
        "settings": clip.settings.model_dump(),
        **({"warning": said} if (said := caution(clip.settings, model.limits)) else {}),
    }


def _fewer(target: Path, clip: Clip) -> dict[str, str]:
    """What a format cannot show."""
    format = target.suffix.lower().lstrip(".")
    if clip.fps <= (most := FASTEST.get(format, clip.fps)):
        return {}
    count = len(clip.frames)
    shown = len(frame_times(count, clip.fps, format)[0])
    return {"fewer": f"a {format} shows {most} frames a second at most: {shown} of {count}"}


def note(model: VideoModel, clip: Clip, **kept: Any) -> str:
    """The parameters kept inside every output: enough to make it again.

    The picture is kept as it was fitted, so that an arrow, which is in shares of the picture as it was given, needs the
    size that this had. The model's own motion is kept, as what was asked for is understood beside it.
    """
    if clip.settings.drag is not None and clip.source is not None:
        kept["drawn_on"] = clip.source
    if clip.mask is not None:
        kept["keep_still"] = to_note(clip.mask[..., None].expand(-1, -1, 3))
    return json.dumps(
        {
            "sfv": sfv.__version__,
            "model": model.name,
            "hash": model.hash,
            "speed": {k: v for k, v in model.speed.items() if k != "reason"},
            "calls": clip.calls,
            "usual_motion": model.defaults.motion,
            "settings": clip.settings.model_dump(),
            "picture": to_note(clip.picture if clip.sticker is None else clip.sticker),
            **kept,
        }
    )
