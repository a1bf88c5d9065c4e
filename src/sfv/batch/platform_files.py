"""Pictures -> the files that platforms take, several of each picture, and a pack where a platform has packs."""

import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import sfv
from sfv.batch.clip_file import Report
from sfv.batch.mask_file import MaskFile
from sfv.batch.naming import keep_others, source
from sfv.batch.platform_names import plan_for
from sfv.errors import SfvError, failure
from sfv.families.base import VideoModel
from sfv.generation.clip import Clip
from sfv.generation.generate import generate
from sfv.media import read_picture, read_sticker
from sfv.media.pictures import Uint8Picture
from sfv.platforms.pack import check_pack, write_pack
from sfv.platforms.request import settings_for
from sfv.platforms.write import write_for
from sfv.settings import Settings, Speed
from sfv.speed.optimize import open_model
from sfv.system.progress import bar


def animate_for(
    images: Sequence[Path],
    model: str,
    settings: Settings,
    platforms: Sequence[str],
    out: Path | None = None,
    device: str = "auto",
    speed: Speed | None = None,
    mask_file: MaskFile | None = None,
    overwrite: bool = False,
    name: str | None = None,
) -> Iterator[Report]:
    """A file of every picture for every platform; yields a report of each, or one with "error" and goes on.

    Pictures keep what is clear in them; an opaque one is laid into a clear square where a square is asked for. Three
    pictures and more for whatsapp also get a pack's `tray.png` and `contents.json`.
    Raises SfvError before anything is written if it cannot be done at all.
    """
    pictures, files = plan_for(images, settings, platforms, out, overwrite, name)
    for platform, targets in files.items():
        check_pack(platform, targets, overwrite)
    mask = None if mask_file is None else mask_file.read()
    start = time.perf_counter()
    loaded = open_model(model, device, speed, len(pictures) * len(files))
    seconds = {"load": time.perf_counter() - start}
    done: dict[str, list[Path]] = {platform: [] for platform in files}
    quiet = len(pictures) * len(files) == 1
    with bar(total=len(pictures) * len(files), desc="animate", unit="file", disable=quiet, smoothing=0) as shown:
        for i, picture in enumerate(pictures):
            clips: dict[str, Clip] = {}
            for platform, targets in files.items():
                try:
                    report = _one(loaded, picture, settings, platform, targets[i], seconds, mask, clips, overwrite)
                    done[platform].append(targets[i])
                except (SfvError, OSError) as error:
                    report = {"image": str(picture), "for": platform, "error": failure(error, picture)}
                seconds = {}
                shown.update()
                yield report
    for platform, made in done.items():
        write_pack(platform, made, overwrite)


def _one(
    model: VideoModel,
    picture: Path,
    settings: Settings,
    name: str,
    target: Path,
    before: dict[str, float],
    mask: Uint8Picture | None,
    clips: dict[str, Clip],
    overwrite: bool,
) -> Report:
    """One file; `clips` of this picture are used again by platforms that ask for the same."""
    want = settings_for(settings, name, model.loops)
    start = time.perf_counter()
    if (clip := clips.get(want.model_dump_json())) is None:
        pixels = read_sticker(picture, opaque=True) if want.transparent else read_picture(picture, want.background)
        clip = clips[want.model_dump_json()] = generate(model, pixels, want, keep_still=mask)
    made = time.perf_counter() - start
    keep_others(target, overwrite)
    start = time.perf_counter()
    note = {"sfv": sfv.__version__, "for": name, "source": source(picture, target)}
    written = write_for(clip, name, target, json.dumps(note))
    return {
        "out": str(target),
        "image": str(picture),
        "for": name,
        "fits": str(written),
        "bytes": written.bytes,
        "model": model.name,
        "hash": model.hash,
        "speed": model.speed,
        "calls": clip.calls,
        "seconds": {k: round(v, 4) for k, v in (before | {"make": made, "write": time.perf_counter() - start}).items()},
        "settings": clip.settings.model_dump(),
    }
