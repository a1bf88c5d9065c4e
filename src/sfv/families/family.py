"""What a family of models can do with a model of it, and the one list of families."""

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from sfv.families.base import VideoModel
    from sfv.families.counted import Shapes
    from sfv.families.svd.stock_pipeline import StockPipeline

FAMILIES = {
    "svd": "sfv.families.svd.family",
    "motion": "sfv.families.motion.family",
    "wan": "sfv.families.wan.family",
}
"""Family -> the module that stands for it; it holds every function of `Family`."""

PIPELINES = {
    "StableVideoDiffusionPipeline": "svd",
    "SfvMotionPipeline": "motion",
    "WanImageToVideoPipeline": "wan",
    "WanPipeline": "wan",
}
"""Pipeline class in model_index.json -> family."""

SIZES = {"svd": "svd", "svd-xt": "svd", "wan-5b": "wan"}
"""Models that can be counted by their names alone -> family."""

LoraNames = Literal["comfyui", "peft"]
"""Whose names adapters are exported under: PEFT's are those that diffusers reads."""


class Graph(NamedTuple):
    """A network as an ONNX file holds it: its inputs by name, in order, and the names of its outputs."""

    network: nn.Module
    inputs: dict[str, Tensor]
    outputs: tuple[str, ...] = ("out",)
    frames: str | None = None
    """The input (1, f, ...) whose second axis may have any number of frames."""


Graphs = dict[str, Graph]
"""File name -> network."""
Wrap = Callable[[str, nn.Module], Any]
"""wrap(stage, network) -> what runs the network instead."""


@runtime_checkable
class Family(Protocol):
    """A module of functions. Each leaves the model it is given as it is."""

    NOTICE: str
    """What whoever exports a model must know of its licence; empty where there is nothing to say."""

    def load(self, folder: Path, unet: str, dtype: torch.dtype, name: str) -> "VideoModel":
        """Open a folder; `unet` names the denoiser's sub-folder."""
        ...

    def weights_hash(self, folder: Path, unet: str) -> str:
        """`VideoModel.hash` of a model that is not loaded."""
        ...

    def shapes(self, folder: Path, unet: str) -> "Shapes":
        """What its configuration files say; SfvError for a family that is not counted."""
        ...

    def sized(self, name: str) -> "Shapes":
        """What is known of a name of SIZES."""
        ...

    def save(self, model: "VideoModel", folder: Path, unet: str = "unet", dtype: torch.dtype | None = None) -> None:
        """Write a whole folder; `unet` names the denoiser's sub-folder, `dtype` casts what is stored."""
        ...

    def save_denoiser(self, model: "VideoModel", folder: Path, unet: str, dtype: torch.dtype | None = None) -> None:
        """Write one denoiser with its defaults beside what a folder holds already."""
        ...

    def export(self, folder: Path, out: Path, dtype: torch.dtype) -> None:
        """Write a trained folder anew in `dtype`, without its runs."""
        ...

    def export_single(self, folder: Path, out: Path, dtype: torch.dtype) -> str:
        """Write a folder as one file of the original layout; returns what else its user should know, or nothing.

        SfvError for a family that has no such layout.
        """
        ...

    def export_lora(self, folder: Path, out: Path, to: LoraNames) -> None:
        """Write the adapters of a folder's student run under another program's names; SfvError likewise."""
        ...

    def rewritten(self, model: "VideoModel") -> "VideoModel":
        """With the family's exact rewrites, for generation alone."""
        ...

    def staged(self, model: "VideoModel", wrap: Wrap) -> "VideoModel":
        """With the large networks run by what `wrap` gives."""
        ...

    def staged_pictures(self, model: "VideoModel", wrap: Wrap) -> "VideoModel":
        """With the networks for pictures run so too."""
        ...

    def for_gpu(self, model: "VideoModel") -> "VideoModel":
        """A rewritten model with GPU kernels."""
        ...

    def graphs(self, model: "VideoModel") -> Graphs:
        """The networks that ONNX files are made of, with random inputs of the model's own size."""
        ...

    def open_stock(
        self, folder: Path, unet: str, device: torch.device, dtype: torch.dtype | None = None
    ) -> "StockPipeline":
        """The peer over the same weights: diffusers' own code, as its users call it; `dtype` None is float32 on a CPU,
        float16 elsewhere."""
        ...


def family(name: str) -> Family:
    """The module of a family."""
    return import_module(FAMILIES[name])  # type: ignore[return-value]
