"""A clip made again from its own parameters."""

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from sfv.batch.clip_file import Report, write
from sfv.batch.naming import check_writable, keep_others
from sfv.errors import SfvError
from sfv.families.load import EMBEDDED, load
from sfv.generation.generate import again
from sfv.media import from_note, read_note
from sfv.settings import Settings, Speed
from sfv.speed.optimize import open_model
from sfv.system.device import pick_device


def replay(
    file: Path, out: Path | None = None, model: str | None = None, device: str = "auto", overwrite: bool = False
) -> Report:
    """Make a clip again from its own note; SfvError if the model's weights are not the ones that made it.

    With another `model`, what only the first one knows (its decoder, its noise on the picture) is left to that model.
    """
    try:
        kept = _kept(file)
        settings, name, digest = Settings(**kept["settings"]), str(model or kept["model"]), kept["hash"]
        speed_kept = kept.get("speed")
        speed = Speed(profile=speed_kept["profile"], backend=speed_kept["unet"]) if speed_kept else None
        picture = from_note(kept["picture"], transparent=settings.transparent)
        mask = from_note(kept["keep_still"]) if "keep_still" in kept else None
        drawn_on = _size(kept["drawn_on"]) if "drawn_on" in kept else None
        usual = _motion(kept["usual_motion"]) if "usual_motion" in kept else None
    except (ValueError, KeyError, TypeError, ValidationError) as error:
        raise SfvError(f"{file} holds parameters that cannot be read ({type(error).__name__}: {error})") from error
    target = out or file.with_name(f"{file.stem}-replay{file.suffix}")
    keep_others(target, overwrite)
    check_writable(target.parent)
    start = time.perf_counter()
    loaded = open_model(name, device, speed) if speed else load(name, pick_device(device))
    if loaded.hash != digest:
        if model is None:
            raise SfvError(_gone(file, name, digest, loaded.hash, kept.get("sfv", "an older version")))
        settings = settings.model_copy(update={"decoder": None, "noise_aug": None, "move": "free", "drag": None})
        if settings.size is not None:  # height and width beside it are the other network's
            settings = settings.model_copy(update={"height": None, "width": None})
    elif usual is not None:
        loaded = replace(loaded, defaults=loaded.defaults.model_copy(update={"motion": usual}))
    seconds = {"load": time.perf_counter() - start}
    clip = again(loaded, picture, settings, mask, drawn_on)
    return write(loaded, clip, target, seconds | clip.seconds, kept.get("source"))


def _kept(file: Path) -> dict[str, Any]:
    """A clip's note; SfvError for one without parameters."""
    kept: dict[str, Any] = json.loads(read_note(file))
    if "for" in kept:
        raise SfvError(
            f"{file} was made for {kept['for']}, whose limits leave no room for its parameters; make it again from "
            "its picture"
        )
    if "settings" not in kept:
        raise SfvError(
            f"{file} was written without its parameters, as by sfv.write_clip; make it again from its picture"
        )
    return kept


def _size(kept: Any) -> tuple[int, int]:
    """Height and width as a note keeps them; ValueError for anything else."""
    height, width = (int(side) for side in kept)
    if min(height, width) < 1:
        raise ValueError(f"drawn_on {height}x{width} is no size")
    return height, width


def _motion(kept: Any) -> float:
    """A model's own motion id as a note keeps it; ValueError for anything else."""
    motion = float(kept)
    if not 0 <= motion <= 255:
        raise ValueError(f"usual_motion {motion} is no motion id")
    return motion


def _gone(file: Path, name: str, digest: str, here: str, version: str) -> str:
    """Why a clip cannot be made again as it was."""
    sentence = f"{file} was made by {name} with weights {digest}"
    if name in EMBEDDED:
        cause = f"which sfv {version} had and this version no longer has (here {here})"
        return f"{sentence}, {cause}; name a model with --model to make a like clip"
    cause = f"here they are {here}, or the settings in its folder were not counted by sfv {version}"
    return f"{sentence}; {cause}; name a model with --model to use it anyway"
