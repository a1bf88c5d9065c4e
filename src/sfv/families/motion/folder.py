"""Models of whole loops on disk: model_index.json with the noise levels, codec, picture_tower and UNet sub-folders, and
stiffness where a model knows stiff things.

UNet folders are in diffusers' layout, each with the defaults of that denoiser in `sfv.json`; the other parts are a
config.json and one safetensors file. Only safetensors and JSON are ever opened.
"""

from pathlib import Path

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sfv.decoding.folder import load_side_part, save_side_part
from sfv.errors import SfvError
from sfv.families.base import VideoModel
from sfv.families.motion.codec import MotionCodecConfig, MotionNetworks, quick_layout
from sfv.families.motion.networks import MotionCodec, MotionConditioner, MotionSizes, PictureTower, TowerConfig
from sfv.families.motion.stiffness import Stiffness, StiffnessConfig
from sfv.families.svd.folder import hash_of, kept_defaults, unusual, unusual_heads, with_unusual
from sfv.families.svd.network import read_json, weight_files, write_json
from sfv.families.svd.networks import SVDDenoiser
from sfv.families.svd.unet import UNet

PIPELINE = "SfvMotionPipeline"
CODEC, TOWER, STIFFNESS = "codec", "picture_tower", "stiffness"


class Index(BaseModel):
    """model_index.json."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    sigma_min: float = Field(gt=0)
    sigma_max: float = Field(gt=0)


def load(folder: Path, unet: str, dtype: torch.dtype, name: str) -> VideoModel:
    """Open a folder; `unet` names the UNet's sub-folder. All weights must be present, finite and of the layout."""
    index, digest = _index(folder), weights_hash(folder, unet)
    denoiser = SVDDenoiser(UNet.open(folder / unet, dtype))
    networks = load_side_part(folder / CODEC, dtype, MotionCodecConfig, MotionNetworks, "codec")
    tower = load_side_part(folder / TOWER, dtype, TowerConfig, PictureTower, "picture tower")
    stiffness = None
    if (folder / STIFFNESS).is_dir():
        part = load_side_part(folder / STIFFNESS, dtype, StiffnessConfig, Stiffness, "network for stiff things")
        stiffness = quick_layout(part)
    config, sizes = denoiser.unet.config, tower.config
    wanted = networks.config.latent_channels + sizes.channels, sizes.token
    if (config.in_channels, config.context) != wanted:
        raise SfvError(f"{folder / unet} is of another codec or picture tower than {folder} holds; train it again")
    asked = folder / unet / "sfv.json"
    if not asked.is_file():
        raise SfvError(
            f"{asked} is missing, which says how this network is asked (calls, guidance, motion): a student would be "
            "asked as a teacher; copy it from where the model came from, or export the model again"
        )
    return VideoModel(
        name=name,
        family="motion",
        denoiser=denoiser,
        codec=MotionCodec(networks),
        conditioner=MotionConditioner(tower),
        sigma_min=index.sigma_min,
        sigma_max=index.sigma_max,
        rho=7.0,
        defaults=kept_defaults(asked),
        hash=digest,
        loops=True,
        stiffness=stiffness,
    )


def _index(folder: Path) -> Index:
    """What model_index.json says; SfvError if it names no noise levels."""
    try:
        return Index(**read_json(folder / "model_index.json"))
    except ValidationError as error:
        reason = str(error).splitlines()[1]
        raise SfvError(f"{folder / 'model_index.json'} names no noise levels ({reason}); export it again") from error


def weights_hash(folder: Path, unet: str) -> str:
    """The hash of a folder's weights, of how its codec generates and its pictures are judged, and of noise levels and
    heads where they are unusual, without opening weights; SfvError if files are missing."""
    parts = [unet, CODEC, TOWER] + [STIFFNESS] * (folder / STIFFNESS).is_dir()
    how = [folder / part / "config.json" for part in (CODEC, STIFFNESS)]
    files = [*(f for part in parts for f in weight_files(folder / part)), *(f for f in how if f.exists())]
    sizes = MotionSizes()
    usual = {"sigma_min": sizes.sigma_min, "sigma_max": sizes.sigma_max}
    other = unusual(_index(folder).model_dump(), usual) | unusual_heads(folder / unet, sizes.head)
    return with_unusual(hash_of(files), other)


def save(model: VideoModel, folder: Path, unet: str = "unet", dtype: torch.dtype | None = None) -> None:
    """Write the layout; `dtype` casts the stored weights (the model itself is untouched)."""
    save_denoiser(model, folder, unet, dtype)
    assert isinstance(model.codec, MotionCodec) and isinstance(model.conditioner, MotionConditioner)
    save_side_part(model.codec.networks, model.codec.networks.config, folder / CODEC, dtype)
    save_side_part(model.conditioner.tower, model.conditioner.tower.config, folder / TOWER, dtype)
    if isinstance(model.stiffness, Stiffness):
        save_side_part(model.stiffness, model.stiffness.config, folder / STIFFNESS, dtype)
    sigmas = {"sigma_min": model.sigma_min, "sigma_max": model.sigma_max}
    write_json(folder / "model_index.json", {"_class_name": PIPELINE, **sigmas})


def save_denoiser(model: VideoModel, folder: Path, unet: str, dtype: torch.dtype | None = None) -> None:
    """Write one UNet sub-folder with its defaults."""
    assert isinstance(model.denoiser, SVDDenoiser)
    model.denoiser.unet.store(folder / unet, dtype)
    write_json(folder / unet / "sfv.json", model.defaults.model_dump(exclude_none=True))


def export(folder: Path, out: Path, dtype: torch.dtype) -> None:
    """Write a trained folder anew in `dtype`: its student, if there is one, and its teacher; runs stay behind."""
    for unet in [u for u in ("unet", "teacher") if (folder / u).is_dir()]:
        save(load(folder, unet, dtype, str(folder)), out, unet, dtype)
