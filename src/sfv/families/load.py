"""Opening and writing models: embedded ones by name, folders, hub ids. Whose family they are, their folder says."""

import json
import os
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from sfv.edm.denoiser import Denoiser
from sfv.errors import SfvError
from sfv.families.base import Codec, VideoModel
from sfv.families.diffusers_needed import needs_diffusers
from sfv.families.family import PIPELINES, SIZES, Graphs, LoraNames, family
from sfv.system.device import has_bf16
from sfv.system.files import inside, new_folder
from sfv.system.threads import one_thread_after_fork

if TYPE_CHECKING:
    from sfv.families.counted import Shapes
    from sfv.families.svd.stock_pipeline import StockPipeline

EMBEDDED = {"sticker": "unet", "sticker-teacher": "teacher"}
"""Models inside the package: name -> UNet sub-folder of weights/sticker."""


def load(
    model: str | Path = "sticker",
    device: str | torch.device = "cpu",
    dtype: torch.dtype | None = None,
    decode_dtype: torch.dtype | None = None,
) -> VideoModel:
    """Open an embedded model by name, a diffusers folder by path, or a hub id ("owner/name").

    `dtype` is what the networks compute in: float32 on a CPU, float16 elsewhere unless given. `decode_dtype` is
    the same for the decoder alone: `dtype`, but bfloat16 on a CPU that computes in it (about 0.01 dB, half the time).
    Processes forked afterwards (multiprocessing's "fork") compute on one thread each, else they would hang.
    Raises SfvError with one sentence if the model cannot be opened.
    """
    one_thread_after_fork()
    name = str(model)
    folder, unet = _place(name)
    on = torch.device(device)
    computes = dtype or (torch.float32 if on.type == "cpu" else torch.float16)
    loaded = family(_family(folder)).load(folder, unet, computes, name).to(on)
    quick = on.type == "cpu" and dtype is None and has_bf16()
    loaded.codec.decode_dtype = decode_dtype or (torch.bfloat16 if quick else None)
    if loaded.small is not None:
        loaded.small.compute = loaded.codec.decode_dtype
    return loaded


def keep_models(folder: Path, cure: str) -> None:
    """SfvError if a folder is there that sfv did not write; `cure` ends the sentence.

    sfv's model folders hold its defaults (`sfv.json` in a denoiser's sub-folder); a first part that was stopped has
    left its runs alone.
    """
    names = inside(folder)
    begun = "runs" in names and "model_index.json" not in names
    own = begun or any(folder.glob("*/sfv.json"))
    if folder.is_file() or (names and not own):
        raise SfvError(f"{folder} is there and was not written by sfv; {cure}")


def export(folder: Path, out: Path, dtype: torch.dtype) -> None:
    """Write a trained model folder anew in `dtype`, without its training runs.

    SfvError if it is none, `out` lies in it or is it, or holds what sfv did not write. A new folder is there whole or
    not at all; in a model of sfv's, files are replaced one by one.
    """
    keep_models(out, "name a new folder")
    check_apart(folder, out)
    if inside(out):
        family(_family(folder)).export(folder, out, dtype)
        return
    with new_folder(out) as made:
        family(_family(folder)).export(folder, made, dtype)


def check_apart(model: Path, out: Path) -> None:
    """SfvError if what is made of a model's folder would be that folder, or lie inside it."""
    whole, place = model.resolve(), out.resolve()
    if place == whole or whole in place.parents:
        where = "is the model itself" if place == whole else f"lies inside the model {model}"
        raise SfvError(f"{out} {where}; name a place outside it")


def save(model: VideoModel, folder: Path) -> None:
    """Write a whole model into a folder."""
    family(model.family).save(model, folder)


def save_denoiser(model: VideoModel, folder: Path, unet: str, dtype: torch.dtype | None = None) -> None:
    """Write a model's denoiser with its defaults beside what a folder holds already, as sub-folder `unet`."""
    family(model.family).save_denoiser(model, folder, unet, dtype)


def graphs(model: VideoModel) -> Graphs:
    """The networks that ONNX files are made of: file name -> network, inputs by name."""
    return family(model.family).graphs(model)


def export_single(folder: Path, out: Path, dtype: torch.dtype) -> str:
    """Write a model folder as one file of its family's original layout; returns what else its user should know, or
    nothing. SfvError for a family that has none."""
    check_apart(folder, out)
    return family(_family(folder)).export_single(folder, out, dtype)


def export_lora(folder: Path, out: Path, to: LoraNames) -> None:
    """Write the adapters of a folder's student run under another program's names; SfvError if there are none."""
    check_apart(folder, out)
    family(_family(folder)).export_lora(folder, out, to)


def notice(folder: Path) -> str:
    """What whoever exports a folder must know of its licence."""
    return family(_family(folder)).NOTICE


def described(model: str | Path) -> "Shapes":
    """What a model's configuration files say of it: names of SIZES need none, unless a folder is called so; of a hub id
    only they are fetched."""
    name = str(model)
    if name in SIZES and not os.path.isdir(name):
        return family(SIZES[name]).sized(name)
    folder, unet = _place(name, ["*.json", "*/*.json"])
    return family(_family(folder)).shapes(folder, unet)


def rewritten(model: VideoModel) -> VideoModel:
    """A model with its family's exact rewrites, for generation alone; the given one stays as it is."""
    return family(model.family).rewritten(model)


def staged(model: VideoModel, wrap: Callable[[str, nn.Module], Any]) -> VideoModel:
    """A model whose large networks go through `wrap(stage, network)`; the given one stays as it is."""
    return family(model.family).staged(model, wrap)


def weights_hash(model: str | Path) -> str:
    """`VideoModel.hash` of a model that is not loaded; SfvError if it cannot be found."""
    folder, unet = _place(str(model))
    return family(_family(folder)).weights_hash(folder, unet)


def for_gpu(model: VideoModel) -> VideoModel:
    """A rewritten model with its family's GPU kernels (sfv.kernels.refusal says where they run); the given one stays
    as it is."""
    return family(model.family).for_gpu(model)


def staged_pictures(model: VideoModel, wrap: Callable[[str, nn.Module], Any]) -> VideoModel:
    """A model whose networks for pictures go through `wrap(stage, network)` too; the given one stays as it is."""
    return family(model.family).staged_pictures(model, wrap)


def load_stock(
    model: str | Path, device: str | torch.device = "cpu", dtype: torch.dtype | None = None
) -> tuple["StockPipeline", VideoModel]:
    """diffusers' own pipeline over a model's folder, in a precision of its own where one is given, and our view of the
    same weights."""
    ours = load(model, device)
    folder, unet = _place(str(model))
    return family(ours.family).open_stock(folder, unet, torch.device(device), dtype), ours


def random_pair(
    size: str, clip: tuple[int, int, int], device: torch.device, dtype: torch.dtype
) -> tuple["StockPipeline", VideoModel]:
    """diffusers' own pipeline and our model over the same random weights: size full (SVD's own) or tiny, clips of
    (frames, height, width)."""
    with needs_diffusers("a pair of random networks"):
        from sfv.families.svd import random_pair as svd_pair

    return svd_pair.random_pair(size, clip, device, dtype)


def random_parts(size: str, device: torch.device) -> tuple[Denoiser, Codec]:
    """Random weights of SVD's sizes (full or tiny): a denoiser in float32, to train, and a codec in bfloat16."""
    with needs_diffusers("a pair of random networks"):
        from sfv.families.svd import random_pair as svd_pair

    return svd_pair.random_denoiser(size, device), svd_pair.random_codec(size, device)


def widened(model: VideoModel) -> VideoModel:
    """The same weights in float32, as a model of its own."""
    with needs_diffusers("a pair of random networks"):
        from sfv.families.svd import random_pair as svd_pair

    return svd_pair.widened(model)


WANTED = ["*.json", "*/*.json", "*/*.safetensors"]
"""Files of a hub repository that are fetched."""


def _place(name: str, wanted: list[str] = WANTED) -> tuple[Path, str]:
    """Folder and UNet sub-folder."""
    return (_weights() / "sticker", EMBEDDED[name]) if name in EMBEDDED else (_folder(name, wanted), "unet")


def model_folder(model: str | Path) -> Path:
    """The folder of an embedded model by its name, or the folder itself; SfvError if there is none."""
    folder = _weights() / "sticker" if str(model) in EMBEDDED else Path(model).expanduser()
    if not (folder / "model_index.json").is_file():
        raise SfvError(
            f"{model} is not a model folder (no model_index.json inside); name one, or {' or '.join(EMBEDDED)}"
        )
    return folder


def _weights() -> Path:
    return Path(str(files("sfv"))) / "weights"


def _family(folder: Path) -> str:
    """The family that model_index.json names."""
    path = folder / "model_index.json"
    try:
        pipeline = json.loads(path.read_text())["_class_name"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SfvError(f"{folder} is not a model folder: {path.name} is missing or damaged ({error})") from error
    if pipeline not in PIPELINES:
        raise SfvError(f"{folder} holds a {pipeline}; supported: {', '.join(PIPELINES)}")
    return PIPELINES[pipeline]


def _folder(name: str, wanted: list[str]) -> Path:
    """A local folder, or the hub's cached (else downloaded) copy of "owner/name"."""
    path = Path(name).expanduser()
    if path.is_dir():
        return path
    known = ", ".join(EMBEDDED)
    if path.is_file() and path.suffix == ".safetensors":
        raise SfvError(f"{path} is one file of weights, not a model folder; sfv import {path.name} SVD OUT makes one")
    if path.suffix.lower() in (".ckpt", ".pt", ".pth", ".bin"):
        raise SfvError(
            f"{path} is a pickle, which is never opened: opening one can run any program that it holds; convert it to "
            "safetensors, then sfv import makes a model folder of it"
        )
    if name.count("/") != 1 or path.suffix or name.startswith((".", "/", "~")):
        raise SfvError(f"model {name!r} is neither a folder, a hub id (owner/name) nor one of: {known}")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, allow_patterns=wanted))
    except (LocalEntryNotFoundError, HfHubHTTPError, HFValidationError, OSError) as error:
        reason = str(error).split("\n")[0]
        raise SfvError(f"model {name!r} is not a folder, not embedded ({known}), and the hub says: {reason}") from error
