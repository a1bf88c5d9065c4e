"""What is timed: our models as `sfv generate` uses them, and diffusers' own pipeline over the same weights."""

import math
import time
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import torch

from sfv.batch.clip_file import animate_file
from sfv.errors import SfvError
from sfv.families.load import load_stock
from sfv.media import fit, read_picture, write_clip
from sfv.settings import Defaults, Settings, Speed, split_row, split_speed
from sfv.speed.optimize import open_model
from sfv.system.device import computes_bf16, pick_device
from sfv.system.timing import clocked

STAGES = ("read", "encode", "picture", "unet", "decode", "write", "other", "total")
"""picture is the image encoder, encode the rest of conditioning (the codec's encoder), other what lies between (and
a transparent clip's matte)."""
PEER = "diffusers="
"""Before a model's name: diffusers' own pipeline over it."""
PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}
"""In which it may be asked for."""
MOST_GUIDANCE = 20


class Contestant(ABC):
    """What is timed: once from picture on disk to clip on disk, in seconds by stage, with its number of calls."""

    name: str
    hash: str
    device: torch.device

    @abstractmethod
    def once(self, image: Path, settings: Settings, folder: Path) -> dict[str, float]:
        """STAGES but "other", and "calls"."""

    @abstractmethod
    def asked(self, settings: Settings) -> dict[str, Any]:
        """The denoiser's "precision", and "guidance" (1 is off), under which those seconds are."""


class Ours(Contestant):
    """A model as `sfv generate` uses it."""

    def __init__(self, row: str, device: str, speed: Speed) -> None:
        name, self.steps = split_row(row)
        name, chosen = split_speed(name, speed)
        self.model = open_model(name, device, chosen)
        self.name, self.hash, self.device = row, self.model.hash, self.model.device

    def once(self, image: Path, settings: Settings, folder: Path) -> dict[str, float]:
        """One clip."""
        want = settings.model_copy(update={"steps": self.steps or settings.steps})
        start, target = time.perf_counter(), folder / ("clip.webp" if want.transparent else "clip.mp4")
        with clocked({"picture": self.model.conditioner.picture_tower()}, self.device) as spent:
            report = animate_file(self.model, image, want, target)
        total = time.perf_counter() - start
        seconds = report["seconds"] | {"encode": report["seconds"]["encode"] - spent["picture"]}
        return {**seconds, **spent, "total": total, "calls": report["calls"]}

    def asked(self, settings: Settings) -> dict[str, Any]:
        """Of the profile, and of settings over the model's own."""
        return {"precision": self.model.speed["precision"], "guidance": settings.over(self.model.defaults).guidance}


class Peer(Contestant):
    """diffusers' own pipeline, read and written by the same readers and writers."""

    def __init__(self, row: str, device: str, _: Speed) -> None:
        name, self.steps = split_row(row.removeprefix(PEER))
        name, precision, self.guidance = split_peer(name)
        on = pick_device(device)
        if precision == "bfloat16" and not computes_bf16(on):
            raise SfvError(f"{row}: this CPU only imitates bfloat16, many times slower than float32; leave the row out")
        self.stock, model = load_stock(name, on, PRECISIONS.get(precision))
        self.precision = str(self.stock.unet.dtype).removeprefix("torch.")
        self.defaults, self.device, self.hash = model.defaults, model.device, model.hash
        self.name = row

    def once(self, image: Path, settings: Settings, folder: Path) -> dict[str, float]:
        """One clip, by the model's defaults and the settings over them."""
        if settings.transparent:
            raise SfvError(f"{self.name} makes no transparent clips; leave transparent out")
        want = self._want(settings)
        defaults = Defaults(**want.model_dump(include=set(Defaults.model_fields)))
        start = time.perf_counter()
        if want.size is not None or want.fit == "own":
            raise SfvError(f"{self.name} makes clips of the model's own frame; leave size and fit own out")
        mode = want.fit or "pad"
        picture = fit(read_picture(image, want.background), defaults.height, defaults.width, mode, want.background)
        read = time.perf_counter()
        frames, calls, seconds = self.stock.animate(picture, defaults, want.seed)
        generated = time.perf_counter()
        write_clip(frames, folder / "peer.mp4", defaults.fps)
        end = time.perf_counter()
        return {**seconds, "read": read - start, "write": end - generated, "total": end - start, "calls": calls}

    def asked(self, settings: Settings) -> dict[str, Any]:
        """What the pipeline was opened in, and what it is called with."""
        return {"precision": self.precision, "guidance": self._want(settings).guidance}

    def _want(self, settings: Settings) -> Settings:
        own = {"steps": self.steps or settings.steps} | ({} if self.guidance is None else {"guidance": self.guidance})
        return settings.model_copy(update=own).over(self.defaults)


def split_peer(name: str) -> tuple[str, str, float | None]:
    """MODEL, MODEL@PRECISION, MODEL@PRECISION/GUIDANCE -> model, precision (empty: the usual), guidance (None: the
    model's own)."""
    model, at, how = name.rpartition("@")
    if not at or Path(name).is_dir():
        return name, "", None
    precision, slash, rest = how.partition("/")
    try:
        guidance = float(rest) if slash else None
    except ValueError:
        guidance = math.nan
    if not model or precision not in PRECISIONS or not (guidance is None or 1 <= guidance <= MOST_GUIDANCE):
        known = f"{PEER}MODEL[@{'|'.join(PRECISIONS)}[/GUIDANCE]][:STEPS], guidance from 1 (none) to {MOST_GUIDANCE}"
        raise SfvError(f"model '{PEER}{name}' must be {known}")
    return model, precision, guidance


def contestant(row: str, device: str, speed: Speed | None = None) -> Contestant:
    """MODEL[@PROFILE[/BACKEND]][:STEPS], or MODEL[@PRECISION[/GUIDANCE]][:STEPS] after "diffusers="."""
    return (Peer if row.startswith(PEER) else Ours)(row, device, speed or Speed())
