"""One file of UNet weights and an SVD folder -> a model folder of its own."""

from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from sfv.errors import SfvError
from sfv.families.svd.folder import shapes, write_defaults
from sfv.families.svd.network import PICKLES, check_whole, each, read_json, write_json
from sfv.families.svd.settings import ImportSettings
from sfv.families.svd.single_file import unet_from_file
from sfv.media import replacing
from sfv.settings import Defaults
from sfv.system.files import check_new, link_or_copy, make_folder, new_folder

UNET_FILE = "diffusion_pytorch_model.safetensors"
AROUND = ("vae", "image_encoder", "feature_extractor", "scheduler")


def import_unet(file: Path, base: Path, out: Path, settings: ImportSettings | None = None) -> str:
    """Write `out`: the UNet of `file` (diffusers' or the original's names), everything else as in the folder `base`.

    Large files are linked where the disk allows it, so `out` takes the UNet's size. Returns what to tell the user.
    SfvError if `file` is no UNet of the base's shapes or not finite, or `out` holds something already.
    """
    settings = settings or ImportSettings()
    if file.suffix != ".safetensors":
        pickle = file.suffix.lower() in PICKLES
        why = "opening a pickle can run any program that it holds" if pickle else "nothing else is opened"
        raise SfvError(f"{file} is not a .safetensors file, and {why}; convert the weights first")
    check_new(out)
    base_shapes = shapes(base)
    unet = base_shapes.plain_unet()
    tensors = _tensors(
        file, {k: v.shape for k, v in unet.state_dict().items()}, each(unet.config.layers_per_block, 1)[0], base
    )
    if missing := next((part for part in AROUND if not (base / part).is_dir()), None):
        raise SfvError(f"{base / missing} is missing; an SVD folder has unet, {', '.join(AROUND)}: fetch it again")
    height, width = base_shapes.generates()
    asked = {"frames": base_shapes.frames, "height": height, "width": width} | settings.model_dump(exclude_none=True)
    with new_folder(out) as made:
        _write_around(base, made)
        with replacing(made / "unet" / UNET_FILE) as beside:
            save_file(tensors, beside, {"format": "pt"})
        write_defaults(Defaults(**asked), made, "unet")
    return f"{out}: {len(tensors)} tensors of {file.name} over {base}"


def _tensors(file: Path, names: dict[str, torch.Size], layers: int, base: Path) -> dict[str, torch.Tensor]:
    check_whole(file)
    try:
        found = {k: v.contiguous() for k, v in unet_from_file(load_file(file), names, layers).items()}
    except KeyError as error:
        raise SfvError(
            f"{file} is no UNet like that of {base}: {error.args[0]} is missing or of another shape; a LoRA or another "
            "architecture cannot be imported"
        ) from error
    if wrong := next((k for k, v in found.items() if not bool(torch.isfinite(v).all())), None):
        raise SfvError(f"{file} holds weights that are not finite numbers ({wrong}); fetch or train it again")
    return found


def _write_around(base: Path, out: Path) -> None:
    """All but the UNet's weights: large files are links, configurations copies."""
    for part in AROUND:
        for file in sorted(f for f in (base / part).rglob("*") if f.is_file()):
            target = out / file.relative_to(base)
            make_folder(target.parent)
            link_or_copy(file, target)
    for name in ("model_index.json", "unet/config.json"):
        write_json(out / name, read_json(base / name))
