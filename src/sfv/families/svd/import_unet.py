"""One file of UNet weights and an SVD folder -> a model folder of its own."""

import os
import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from sfv.errors import SfvError
from sfv.families.svd.folder import shapes, write_defaults
from sfv.families.svd.network import PICKLES, check_whole, each
from sfv.families.svd.settings import ImportSettings
from sfv.families.svd.single_file import unet_from_file
from sfv.media import replacing
from sfv.settings import Defaults

UNET_FILE = "diffusion_pytorch_model.safetensors"
AROUND = ("vae", "image_encoder", "feature_extractor", "scheduler")


def import_unet(file: Path, base: Path, out: Path, settings: ImportSettings | None = None) -> str:
    """Write `out`: the UNet of `file` (diffusers' or the original's names), everything else as in the folder `base`.

    Large files are linked where the disk allows it, so `out` takes the UNet's size. Returns what to tell the user.
    SfvError if `file` is no UNet of the base's shapes, or `out` holds something already.
    """
    settings = settings or ImportSettings()
    if file.suffix != ".safetensors":
        pickle = file.suffix.lower() in PICKLES
        why = "opening a pickle can run any program that it holds" if pickle else "nothing else is opened"
        raise SfvError(f"{file} is not a .safetensors file, and {why}; convert the weights first")
    if out.exists() and any(out.iterdir()):
        raise SfvError(f"{out} is not empty; name a new folder")
    base_shapes = shapes(base)
    unet = base_shapes.plain_unet()
    tensors = _tensors(
        file, {k: v.shape for k, v in unet.state_dict().items()}, each(unet.config.layers_per_block, 1)[0], base
    )
    for part in AROUND:
        shutil.copytree(base / part, out / part, copy_function=_link)
    shutil.copyfile(base / "model_index.json", out / "model_index.json")
    (out / "unet").mkdir()
    shutil.copyfile(base / "unet" / "config.json", out / "unet" / "config.json")
    with replacing(out / "unet" / UNET_FILE) as beside:
        save_file(tensors, beside, {"format": "pt"})
    height, width = base_shapes.generates()
    given = settings.model_dump(exclude_none=True)
    write_defaults(Defaults(**{"frames": base_shapes.frames, "height": height, "width": width} | given), out, "unet")
    return f"{out}: {len(tensors)} tensors of {file.name} over {base}"


def _tensors(file: Path, names: dict[str, torch.Size], layers: int, base: Path) -> dict[str, torch.Tensor]:
    check_whole(file)
    try:
        return {k: v.contiguous() for k, v in unet_from_file(load_file(file), names, layers).items()}
    except KeyError as error:
        raise SfvError(
            f"{file} is no UNet like that of {base}: {error.args[0]} is missing or of another shape; a LoRA or another "
            "architecture cannot be imported"
        ) from error


def _link(source: str, target: str) -> None:
    """A hard link of the real file (the hub's cache holds symbolic ones), or a copy where the disk allows none."""
    real = os.path.realpath(source)
    try:
        os.link(real, target)
    except OSError:
        shutil.copyfile(real, target)
