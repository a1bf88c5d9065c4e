"""What a family does that has nothing of its own for it: a family's module imports these by name."""

from pathlib import Path
from typing import Any

import torch

from sfv.errors import SfvError
from sfv.families.base import VideoModel
from sfv.families.family import SIZES, Graphs, LoraNames, Wrap

NOTICE = ""


def rewritten(model: VideoModel) -> VideoModel:
    """No exact rewrites: the model itself."""
    return model


def for_gpu(model: VideoModel) -> VideoModel:
    """No kernels: the model itself."""
    return model


def staged(model: VideoModel, wrap: Wrap) -> VideoModel:
    """No networks that something else could run: the model itself, eager."""
    return model


def staged_pictures(model: VideoModel, wrap: Wrap) -> VideoModel:
    """The same for the networks that see the picture."""
    return model


def shapes(folder: Path, unet: str) -> Any:
    """SfvError: its parts are not counted."""
    raise SfvError(f"{folder} is not counted; accounts are for models such as {', '.join(SIZES)}")


def sized(name: str) -> Any:
    """SfvError: no name of it is known."""
    raise SfvError(f"{name} is no model that is known by name; give its folder")


def export_single(folder: Path, out: Path, dtype: torch.dtype) -> str:
    """SfvError: there is no such layout."""
    raise SfvError(f"{folder} is of a family that no other program opens as one file; export it as a folder")


def export_lora(folder: Path, out: Path, to: LoraNames) -> None:
    """SfvError: no other program reads them."""
    raise SfvError(f"{folder} is of a family whose adapters no other program reads; export it as a folder")


def graphs(model: VideoModel) -> Graphs:
    """SfvError: nothing to export."""
    raise SfvError(f"{model.name} has no ONNX graphs; export it as a folder")


def open_stock(folder: Path, unet: str, device: torch.device, dtype: torch.dtype | None = None) -> Any:
    """SfvError: no other program runs it."""
    raise SfvError(f"{folder} has no pipeline of diffusers to be measured against")
