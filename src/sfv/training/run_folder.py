"""A model folder that is filled part by part: how a part begins, and the mark that it is done."""

from pathlib import Path

import torch
from safetensors import SafetensorError

from sfv.errors import SfvError
from sfv.families.base import VideoModel
from sfv.families.load import save
from sfv.families.svd.folder import load
from sfv.families.svd.sizes import Blueprint, new_model
from sfv.training.presets import PARTS


def resume(folder: Path, blueprint: Blueprint, part: str) -> VideoModel:
    """A fresh model for the first part; else the folder as the parts before left it; SfvError if one is missing."""
    if part == PARTS[0]:
        return new_model(blueprint, seed=0)
    before = PARTS[PARTS.index(part) - 1]
    if not is_finished(folder, before):
        raise SfvError(f"{folder} has no trained {before} yet; run `sfv train {before}` first")
    return load(folder, "teacher" if part == "student" else "unet", torch.float32, str(folder))


def adopt(init: Path, part: str) -> VideoModel:
    """Another folder's model as the start: its teacher's UNet for teacher and student alike."""
    return load(init, "teacher" if part in ("teacher", "student") else "unet", torch.float32, str(init))


def settle(model: VideoModel, folder: Path) -> None:
    """Write the model that training begins with where there is none yet; SfvError if it cannot be written."""
    if (folder / "model_index.json").exists():
        return
    try:
        save(model, folder)
    except SfvError:
        raise
    except (OSError, SafetensorError) as error:
        raise SfvError(f"{folder} cannot be written ({error}); free some space and repeat the command") from error


def finish(folder: Path, part: str) -> None:
    """Mark a part as done."""
    (folder / "runs" / part / "done").write_text("")


def is_finished(folder: Path, part: str) -> bool:
    """Whether a part has been trained to its end."""
    return (folder / "runs" / part / "done").exists()
