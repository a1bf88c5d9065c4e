"""Where figures come from: which model made a row's clips and how it was asked, by which command, on what."""

import hashlib
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

import sfv
from sfv.families.base import VideoModel
from sfv.settings import Decoder, Settings
from sfv.system.machine import machine

Origin = dict[str, Any]
"""Plain values, as JSON holds them."""
ASKED = ("steps", "guidance", "motion", "noise_aug", "sampler", "frames", "fps", "play_fps", "move", "stiff")
"""What is kept of the settings of a row."""
WORD = re.compile(r"(--[\w-]+=)?(.*?)((@\w+(/\w+)?)?(:\d+)?)", re.DOTALL)
"""A flag, a value, and what may follow a model's name."""


def of_model(model: VideoModel, settings: Settings) -> Origin:
    """A model's weights by their hash, and how it was asked; `motion` is its own id, which pictures raise and lower."""
    asked = settings.over(model.defaults)
    how = {k: getattr(asked, k) for k in ASKED}
    return of_weights(model, settings.decoder) | how | {"speed": dict(model.speed)}


def of_weights(model: VideoModel, decoder: Decoder | None) -> Origin:
    """The same of a row that takes a model's codec alone."""
    return {"model": Path(model.name).name, "hash": model.hash, "decoder": model.decoder(decoder)}


def of_files(folder: str, paths: Sequence[Path]) -> Origin:
    """Clips made elsewhere: the name of their folder, and a hash of the files that are measured."""
    digest = hashlib.sha256()
    for path in paths:
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return {"files": folder, "hash": digest.hexdigest()[:16]}


def of_run(device: torch.device) -> Origin:
    """The command with names in place of paths, versions, and the machine."""
    return {"command": plain_command(sys.argv), "sfv": sfv.__version__, **machine(device)}


def plain_command(words: Sequence[str]) -> str:
    """A command in which of every path only the name is left; `python -m sfv` is `sfv`."""
    program, *rest = words or [""]
    name = "sfv" if Path(program).name == "__main__.py" else _named(program)
    return " ".join([name, *map(_named, rest)])


def _named(word: str) -> str:
    found = WORD.fullmatch(word)
    assert found
    flag, value, rest = found[1] or "", found[2], found[3]
    return flag + (re.split(r"[/\\]", value.rstrip("/\\"))[-1] or value) + rest
