"""Files in, files out: many pictures through one model, replays, side-by-sides. Floor 4: knows generate and media."""

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from tqdm import tqdm

import sfv
from sfv.batch.manifest import Manifest
from sfv.errors import SfvError
from sfv.families import EMBEDDED, load, pick_device, weights_hash
from sfv.families.base import VideoModel
from sfv.generation.generate import Clip, generate
from sfv.media import (
    PICTURE_ENDINGS,
    check_see_through,
    contact_sheet,
    from_note,
    read_note,
    read_picture,
    read_sticker,
    side_by_side,
    to_note,
    write_clip,
    write_picture,
)
from sfv.media.pictures import Uint8Picture
from sfv.settings import FORMATS, Settings, Speed
from sfv.speed import open_model
from sfv.types import Frames

Report = dict[str, Any]


Pairs = Sequence[tuple[Path, Path]]
"""Picture files and the clip files to be made of them."""


def animate_files(
    images: Sequence[Path],
    model: str,
    settings: Settings,
    out: Path | None = None,
    kind: str | None = None,
    device: str = "auto",
    speed: Speed | None = None,
    resume: bool = False,
    keep_still: Path | None = None,
) -> Iterator[Report]:
    """Animate every picture (folders are searched); yields a report per clip, or one with "error" and goes on.

    A clip is written while the next one is made. With `resume`, a manifest is kept beside the clips, and what it says
    is done and whole is left as it is. `keep_still` is a mask, a picture of the pictures' shape that is white where
    nothing may move.
    Raises SfvError before anything is written if there is nothing to do or the output cannot be written.
    """
    pairs = plan(images, settings, out, kind)
    mask = None if keep_still is None else read_picture(keep_still, "black")
    book = Manifest(folder_of(pairs), digest(model, settings, speed, keep_still)) if resume else None
    left = book.left(pairs) if book else pairs
    if not left:
        return
    start = time.perf_counter()
    loaded = open_model(model, device, speed, len(left))
    seconds = {"load": time.perf_counter() - start}
    with tqdm(total=len(pairs), initial=len(pairs) - len(left), **_bar(len(pairs))) as bar:
        for report in animate_pairs(loaded, left, settings, seconds, mask):
            bar.update()
            if book:
                book.add(report)
            yield report


def _bar(clips: int) -> dict[str, Any]:
    """How progress is shown; not for one clip."""
    return {"desc": "animate", "unit": "clip", "disable": clips == 1, "smoothing": 0}


def plan(images: Sequence[Path], settings: Settings, out: Path | None = None, kind: str | None = None) -> Pairs:
    """What would be made of what; SfvError if there is nothing to do or it could not be written."""
    pictures = expand(images)
    targets = name_outputs(pictures, out, kind, "webp" if settings.transparent else "mp4")
    if settings.transparent:
        check_see_through(targets[0])
    return list(zip(pictures, targets, strict=True))


def folder_of(pairs: Pairs) -> Path:
    """Where the manifest lies: the folder that holds all clips."""
    return Path(os.path.commonpath([target.parent.absolute() for _, target in pairs]))


def digest(model: str, settings: Settings, speed: Speed | None = None, mask: Path | None = None) -> str:
    """16 hex digits over all that decides a clip but its picture: version, weights, settings, speed, mask."""
    said = [sfv.__version__, weights_hash(model), settings.model_dump(), (speed or Speed()).model_dump()]
    if mask is not None:
        said.append(hashlib.sha256(mask.read_bytes()).hexdigest())
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:16]


def animate_pairs(
    model: VideoModel,
    pairs: Pairs,
    settings: Settings,
    before: dict[str, float] | None = None,
    mask: Uint8Picture | None = None,
) -> Iterator[Report]:
    """A loaded model's clip of each picture, in order; a clip is written while the next one is made."""
    seconds = before or {}
    with ThreadPoolExecutor(1) as writer:
        waiting: Future[Report] | None = None
        for picture, target in pairs:
            made = _tried(picture, partial(_made, model, picture, settings, seconds, mask))
            if waiting is not None:
                yield waiting.result()
            waiting = writer.submit(_tried, picture, partial(_written, model, made, target))
            seconds = {}
        if waiting is not None:
            yield waiting.result()


Made = tuple[Path, Clip, dict[str, float]]
"""A picture's file, its clip and the seconds so far."""


def _tried(picture: Path, work: Callable[[], Any]) -> Any:
    """What the work gives, or a report of what went wrong with this picture."""
    try:
        return work()
    except SfvError as error:
        return {"image": str(picture), "error": str(error)}


def _written(model: VideoModel, made: Made | Report, target: Path) -> Report:
    """Write what was made; a report of an earlier error stays one."""
    if isinstance(made, dict):
        return made
    picture, clip, seconds = made
    return _write(model, clip, target, seconds) | {"image": str(picture)}


def animate_file(
    model: VideoModel, picture: Path, settings: Settings, target: Path, before: dict[str, float] | None = None
) -> Report:
    """One picture file to one clip file; `before` are seconds already spent on it."""
    return _written(model, _made(model, picture, settings, before or {}), target)


def _made(
    model: VideoModel, picture: Path, settings: Settings, before: dict[str, float], mask: Uint8Picture | None = None
) -> Made:
    """One picture file's clip, not yet written."""
    start = time.perf_counter()
    pixels = read_sticker(picture) if settings.transparent else read_picture(picture, settings.background)
    read = time.perf_counter() - start
    steps = settings.steps or model.defaults.steps
    with tqdm(total=steps, desc=picture.name, unit="call", leave=False, disable=steps < 4) as bar:
        clip = generate(model, pixels, settings, watch=lambda done, _: bar.update(), keep_still=mask)
    return picture, clip, before | {"read": read} | clip.seconds


def _write(model: VideoModel, clip: Clip, target: Path, seconds: dict[str, float]) -> Report:
    start = time.perf_counter()
    write_clip(clip.frames if clip.alpha is None else clip.stickers(), target, clip.fps, note(model, clip))
    seconds = seconds | {"write": time.perf_counter() - start}
    return {
        "out": str(target),
        "model": model.name,
        "hash": model.hash,
        "speed": model.speed,
        "calls": clip.calls,
        "seconds": {k: round(v, 4) for k, v in seconds.items()},
        "settings": clip.settings.model_dump(),
    }


def note(model: VideoModel, clip: Clip) -> str:
    """The parameters kept inside every output: enough to make it again."""
    kept = {} if clip.mask is None else {"keep_still": to_note(clip.mask[..., None].expand(-1, -1, 3))}
    return json.dumps(
        {
            "sfv": sfv.__version__,
            "model": model.name,
            "hash": model.hash,
            "speed": {k: v for k, v in model.speed.items() if k != "reason"},
            "calls": clip.calls,
            "settings": clip.settings.model_dump(),
            "picture": to_note(clip.picture if clip.sticker is None else clip.sticker),
            **kept,
        }
    )


def replay(file: Path, out: Path | None = None, model: str | None = None, device: str = "auto") -> Report:
    """Make a clip again from its own note; SfvError if the model's weights are not the ones that made it.

    With another `model`, what only the first one knows (its decoder, its noise on the picture) is left to that model.
    """
    try:
        kept = json.loads(read_note(file))
        settings, name, digest = Settings(**kept["settings"]), str(model or kept["model"]), kept["hash"]
        made = kept.get("speed")
        speed = Speed(profile=made["profile"], backend=made["unet"]) if made else None
        picture = from_note(kept["picture"], transparent=settings.transparent)
        mask = from_note(kept["keep_still"]) if "keep_still" in kept else None
    except (ValueError, KeyError, TypeError, ValidationError) as error:
        raise SfvError(f"{file} holds parameters that cannot be read ({type(error).__name__}: {error})") from error
    target = out or file.with_name(f"{file.stem}-replay{file.suffix}")
    _check_writable(target.parent)
    start = time.perf_counter()
    loaded = open_model(name, device, speed) if speed else load(name, pick_device(device))
    if loaded.hash != digest:
        if model is None:
            raise SfvError(_gone(file, name, digest, loaded.hash, kept.get("sfv", "an older version")))
        settings = settings.model_copy(update={"decoder": None, "noise_aug": None})
    seconds = {"load": time.perf_counter() - start}
    clip = generate(loaded, picture, settings, keep_still=mask)
    return _write(loaded, clip, target, seconds | clip.seconds)


def _gone(file: Path, name: str, digest: str, here: str, version: str) -> str:
    """Why a clip cannot be made again as it was."""
    said = f"{file} was made by {name} with weights {digest}"
    if name in EMBEDDED:
        cause = f"which sfv {version} had and this version no longer has (here {here})"
        return f"{said}, {cause}; name a model with --model to make a like clip"
    return f"{said}, here they are {here}; name a model with --model to use it anyway"


def compare(
    image: Path | None,
    models: Sequence[str],
    settings: Settings,
    out: Path,
    device: str = "auto",
    speed: Speed | None = None,
) -> Iterator[str]:
    """One picture through several models: a clip each, a side-by-side and a contact sheet; yields lines to print.

    Every model is run once to warm up, then timed.
    """
    if settings.transparent:
        raise SfvError("clips are compared over white; leave transparent out")
    picture = read_picture(image or example(), settings.background)
    out.mkdir(parents=True, exist_ok=True)
    _check_writable(out)
    columns: list[tuple[str, Frames]] = []
    first: Clip | None = None
    for name in models:
        start = time.perf_counter()
        model = open_model(name, device, speed)
        loading = {"load": time.perf_counter() - start}
        generate(model, picture, settings.model_copy(update={"steps": 1}))
        clip = generate(model, picture, settings)
        if first is None:
            first = clip
            columns.append(("still", still(clip.picture, len(clip.frames))))
        report = _write(model, clip, out / f"{Path(name).name}.mp4", loading | clip.seconds)
        busy = sum(v for k, v in report["seconds"].items() if k != "load")
        steps = clip.settings.steps
        columns.append((f"{Path(name).name}: {steps} step{'s' * (steps != 1)}, {busy:.2f} s", clip.frames))
        stages = ", ".join(f"{k} {v:.3f} s" for k, v in report["seconds"].items())
        yield f"{report['out']}: {clip.calls} network call(s); {stages}"
    yield from _write_comparison(columns, first, out)


def _write_comparison(columns: list[tuple[str, Frames]], first: Clip | None, out: Path) -> Iterator[str]:
    assert first is not None
    row = side_by_side(columns)
    for ending in ("mp4", "webp"):
        write_clip(row, out / f"side-by-side.{ending}", first.fps)
    write_picture(contact_sheet(columns[1:]), out / "frames.png")
    yield f"{out / 'side-by-side.mp4'}: still, " + ", ".join(text for text, _ in columns[1:])


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
    return found


def name_outputs(pictures: list[Path], out: Path | None, kind: str | None, usual: str = "mp4") -> list[Path]:
    """One target per picture, distinct, no source, `usual` if no kind is named; parents exist and can be written."""
    single = out is not None and out.suffix.lower().lstrip(".") in FORMATS and not out.is_dir()
    if single and out is not None:
        if len(pictures) > 1:
            raise SfvError(f"--out {out} names one file, but there are {len(pictures)} pictures; name a folder")
        if kind and out.suffix.lower() != f".{kind}":
            raise SfvError(f"--format {kind} contradicts --out {out}; give one of them")
        targets = [out]
    else:
        targets = _distinct(pictures, out, kind or usual)
    there = {t.resolve() for t in targets if t.exists()}
    if clash := there and there & {p.resolve() for p in pictures}:
        raise SfvError(f"{clash.pop()} is a source picture and would be overwritten; choose another --out or --format")
    for folder in {t.parent for t in targets}:
        _check_writable(folder)
    return targets


def _distinct(pictures: list[Path], out: Path | None, kind: str) -> list[Path]:
    """cat.png and cat.jpg become cat.mp4 and cat-2.mp4."""
    targets: dict[Path, None] = {}
    for picture in pictures:
        folder, stem, count = out or picture.parent, picture.stem, 1
        while (target := folder / f"{stem}{f'-{count}' if count > 1 else ''}.{kind}") in targets:
            count += 1
        targets[target] = None
    return list(targets)


def _check_writable(folder: Path) -> None:
    """Make the folder if needed, and fail before any work if nothing can be written there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".sfv-{os.getpid()}-{hashlib.sha256(str(folder).encode()).hexdigest()[:8]}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise SfvError(f"{folder} cannot be written ({error.strerror}); choose another folder with --out") from error


def example() -> Path:
    """The bundled example picture."""
    return Path(str(files("sfv"))) / "examples" / "example.png"


def still(picture: Uint8Picture, frames: int) -> Frames:
    """A picture as a clip that does not move."""
    return picture[None].expand(frames, -1, -1, -1)
