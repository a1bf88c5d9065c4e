"""SVD models on disk: the diffusers folder layout, read strictly and written bit for bit.

A folder holds model_index.json and the sub-folders unet, vae, image_encoder, feature_extractor and scheduler.
Beside them a small decoder, a matte and any further UNet folder (such as a teacher's) may stand; `sfv.json` inside a
UNet folder keeps the defaults of that denoiser. Only safetensors and JSON are ever opened.
"""

import functools
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from sfv.decoding.decoder import load_decoder, save_decoder
from sfv.decoding.folder import MATTE, SMALL
from sfv.decoding.matte import load_matte, save_matte
from sfv.errors import SfvError
from sfv.families.base import VideoModel
from sfv.families.family import LoraNames
from sfv.families.svd.autoencoder import Autoencoder
from sfv.families.svd.clip_tower import ClipTower
from sfv.families.svd.lora import stacked
from sfv.families.svd.network import DIFFUSERS, each, read_json, weight_files, write_json
from sfv.families.svd.networks import CLIP_MEAN, CLIP_SIZE, CLIP_STD, SVDCodec, SVDConditioner, SVDDenoiser
from sfv.families.svd.single_file import lora_for_comfyui, lora_for_peft, to_single
from sfv.families.svd.sizes import SVD_SIZE, SVD_TRAINING, Shapes
from sfv.families.svd.unet import UNet, UNetConfig
from sfv.media import replacing
from sfv.settings import Defaults
from sfv.system.files import make_folder
from sfv.system.progress import say
from sfv.system.stream import write_tensors

SVD_WIDTHS = (320, 640, 1280, 1280)
NOTICE = (
    "If these weights derive from Stability AI's Stable Video Diffusion, the Stability AI licence of that model binds "
    "them too: keep its notice with every copy."
)


def load(folder: Path, unet: str, dtype: torch.dtype, name: str) -> VideoModel:
    """Open a folder; `unet` names the UNet's sub-folder. All weights must be present, finite and of the layout."""
    small, matte = folder / SMALL, folder / MATTE
    digest = weights_hash(folder, unet)
    denoiser = SVDDenoiser(UNet.open(folder / unet, dtype))
    codec = SVDCodec(Autoencoder.open(folder / "vae", dtype))
    conditioner = SVDConditioner(ClipTower.open(folder / "image_encoder", dtype), codec)
    scheduler = read_json(folder / "scheduler" / "scheduler_config.json")
    if scheduler.get("prediction_type") != "v_prediction" or "sigma_max" not in scheduler:
        raise SfvError(
            f"{folder / 'scheduler'} is not SVD's (v_prediction with sigma_min and sigma_max); use SVD's scheduler"
        )
    return VideoModel(
        name=name,
        family="svd",
        denoiser=denoiser,
        codec=codec,
        conditioner=conditioner,
        sigma_min=float(scheduler["sigma_min"]),
        sigma_max=float(scheduler["sigma_max"]),
        rho=7.0,
        defaults=read_defaults(folder / unet, _own(denoiser, codec)),
        hash=digest,
        small=load_decoder(small, dtype, *_geometry(codec)) if small.is_dir() else None,
        matte=load_matte(matte, dtype) if matte.is_dir() else None,
    )


def weights_hash(folder: Path, unet: str) -> str:
    """The hash of a folder's weights, and of noise levels, scale of latents and heads where they are unusual, without
    opening weights; SfvError if files are missing."""
    beside = [name for name in (SMALL, MATTE) if (folder / name).is_dir()]
    files = [f for part in (unet, "vae", "image_encoder", *beside) for f in weight_files(folder / part)]
    own = _widths(folder / unet) == SVD_WIDTHS
    usual = {"sigma_min": 0.002, "sigma_max": 700.0 if own else 200.0, "scaling_factor": 0.18215 if own else 1.0}
    found = read_json(folder / "scheduler" / "scheduler_config.json") | read_json(folder / "vae" / "config.json")
    return with_unusual(hash_of(files), unusual(found, usual) | unusual_heads(folder / unet, 64 if own else 32))


def unusual(found: Mapping[str, Any], usual: Mapping[str, Any]) -> dict[str, Any]:
    """What a folder says that is other than usual; what it does not say is usual."""
    return {k: found[k] for k in usual if k in found and found[k] != usual[k]}


def unusual_heads(unet: Path, channels: int) -> dict[str, Any]:
    """Attention heads of a UNet's blocks, which no weight shows, if they have another number of channels.

    A configuration that is wrong says so when it is opened.
    """
    widths = _widths(unet)
    heads = read_json(unet / "config.json").get("num_attention_heads", UNetConfig().num_attention_heads)
    given = list(heads) if isinstance(heads, list | tuple) else [heads] * len(widths)
    return {} if given == [w // channels for w in widths] else {"heads": given}


def _widths(unet: Path) -> tuple[int, ...]:
    """Channels of its blocks; none where the configuration does not say so in whole numbers."""
    given = read_json(unet / "config.json").get("block_out_channels", SVD_WIDTHS)
    whole = isinstance(given, list | tuple) and all(isinstance(w, int) for w in given)
    return tuple(given) if whole else ()


def with_unusual(digest: str, other: Mapping[str, Any]) -> str:
    """The hash of weights and of settings beside them; where those are as usual, of the weights alone, as it was before
    settings counted."""
    text = f"{digest}{json.dumps(other, sort_keys=True)}"
    return hashlib.sha256(text.encode()).hexdigest()[:16] if other else digest


def _geometry(codec: SVDCodec) -> tuple[int, int]:
    """Channels of its latents, and pixels per latent."""
    return codec.latent_shape(1, codec.stride, codec.stride)[1], codec.stride


def shapes(folder: Path, unet: str = "unet") -> Shapes:
    """What a folder's configuration files say, without opening weights; the clip's size is its own default."""
    parts = [folder / part for part in (unet, "vae", "image_encoder")]
    frames = UNet.described_by(parts[0]).config.num_frames
    stride = 2 ** (len(Autoencoder.described_by(parts[1]).config.block_out_channels) - 1)
    ClipTower.described_by(parts[2])
    height, width = SVD_TRAINING
    size = read_defaults(folder / unet, Defaults(frames=frames, height=height, width=width))
    config, vae, tower = (read_json(part / "config.json") for part in parts)
    return Shapes(config, stride, size.frames, size.height, size.width, vae, tower)


def save(model: VideoModel, folder: Path, unet: str = "unet", dtype: torch.dtype | None = None) -> None:
    """Write the layout; `dtype` casts the stored weights (the model itself is untouched)."""
    save_denoiser(model, folder, unet, dtype)
    assert isinstance(model.codec, SVDCodec) and isinstance(model.conditioner, SVDConditioner)
    model.codec.vae.store(folder / "vae", dtype)
    if model.small is not None:
        save_decoder(model.small, folder / SMALL, dtype)
    if model.matte is not None:
        save_matte(model.matte, folder / MATTE, dtype)
    model.conditioner.image_encoder.store(folder / "image_encoder", dtype)
    save_around(folder, model.sigma_min, model.sigma_max)


def save_around(folder: Path, sigma_min: float, sigma_max: float) -> None:
    """Write what a folder holds beside its networks: preprocessing, noise law and, last, the index."""
    write_json(folder / "feature_extractor" / "preprocessor_config.json", _PREPROCESSOR)
    sigmas = {"sigma_min": sigma_min, "sigma_max": sigma_max}
    write_json(folder / "scheduler" / "scheduler_config.json", SCHEDULER | sigmas)
    write_json(folder / "model_index.json", _INDEX | {"_diffusers_version": DIFFUSERS})


def export(folder: Path, out: Path, dtype: torch.dtype) -> None:
    """Write a trained folder anew in `dtype`, its student and, where there is one, its teacher; runs stay behind.

    Weights are opened in `dtype`, so that SVD's size needs 5 GB of memory and not 12.
    """
    save(load(folder, "unet", dtype, str(folder)), out, "unet", dtype)
    if (folder / "teacher").is_dir():
        save_denoiser(load(folder, "teacher", dtype, str(folder)), out, "teacher", dtype)


def export_single(folder: Path, out: Path, dtype: torch.dtype) -> str:
    """Write a folder as one safetensors file in the original SVD layout, with the licence notice inside.

    Takes the file's size in memory, and one tensor more. Returns what else its user should know, or nothing.
    """
    check_target(out, NOTICE)
    unet = UNet.open(folder / "unet", dtype)
    vae = Autoencoder.open(folder / "vae", torch.float32)  # two of its layers become one, in full precision
    tensors = to_single(unet, vae, ClipTower.open(folder / "image_encoder", dtype))
    make_folder(out.parent)
    with replacing(out) as beside, open(beside, "wb") as file:
        write_tensors(file, tensors, dtype, {"notice": NOTICE, "format": "pt"})
    if tuple(unet.config.block_out_channels) == SVD_WIDTHS:
        return ""
    return f"ComfyUI knows SVD's own widths alone, {list(SVD_WIDTHS)}, and will not detect this model's type."


def export_lora(folder: Path, out: Path, to: LoraNames = "comfyui") -> None:
    """The adapters of a folder's student run under another program's names, with the licence notice inside."""
    check_target(out, NOTICE)
    kept = trained_adapters(folder)
    layers = int(each(read_json(folder / "unet" / "config.json").get("layers_per_block", 2), 1)[0])
    write_lora(lora_for_comfyui(kept, layers) if to == "comfyui" else lora_for_peft(kept), out, NOTICE)


def trained_adapters(folder: Path) -> dict[str, Tensor]:
    """What a folder's student run has learnt, several stages as one; SfvError where adapters do not hold it all."""
    run = folder / "runs" / "student"
    stages = sorted((p for p in run.glob("*") if p.name.isdigit()), key=lambda p: int(p.name))
    if stages and (run / "config.json").exists():
        raise SfvError(f"{run} holds a run of one stage and one of several; train again in a new folder")
    sources = [p / "lora.safetensors" for p in stages or [run]]
    missing = next((s for s in sources if not s.exists()), None)
    if missing and stages:
        raise SfvError(
            f"{missing} does not exist; a student has adapters if each stage had lora > 0 and came to its end"
        )
    if missing:
        raise SfvError(f"{missing} does not exist; only students trained with lora > 0 have adapters")
    began = sources[0].with_name("config.json")
    if began.exists() and (start := read_json(began).get("start")):
        raise SfvError(f"{run} began as {start}, so its adapters are not added to the teacher; export the whole model")
    return stacked([load_file(s) for s in sources])


def write_lora(state: dict[str, Tensor], out: Path, notice: str) -> None:
    """One file of adapters with a licence notice inside."""
    make_folder(out.parent)
    with replacing(out) as beside:
        save_file({k: v.contiguous() for k, v in state.items()}, beside, {"notice": notice, "format": "pt"})


def check_target(out: Path, notice: str) -> None:
    """SfvError if it is not called as one file is, or a file is there that does not hold the notice of an export."""
    if out.suffix != ".safetensors":
        raise SfvError(f"{out} must end in .safetensors: it is one file")
    if not out.exists():
        return
    try:
        with safe_open(out, "pt") as opened:
            own = (opened.metadata() or {}).get("notice") == notice
    except (SafetensorError, OSError):
        own = False
    if not own:
        raise SfvError(f"{out} is there and was not written by sfv; name another file")


def save_denoiser(model: VideoModel, folder: Path, unet: str, dtype: torch.dtype | None = None) -> None:
    """Write one UNet sub-folder with its defaults."""
    assert isinstance(model.denoiser, SVDDenoiser)
    model.denoiser.unet.store(folder / unet, dtype)
    write_defaults(model.defaults, folder, unet)


def write_defaults(defaults: Defaults, folder: Path, unet: str) -> None:
    """What a denoiser is asked for when nothing is said."""
    write_json(folder / unet / "sfv.json", defaults.model_dump(exclude_none=True))


def read_defaults(folder: Path, defaults: Defaults) -> Defaults:
    """sfv.json of a UNet's folder where there is one, otherwise `defaults`, which is said of a model that sfv wrote."""
    path = folder / "sfv.json"
    if not path.exists():
        if written_by_sfv(folder.parent):
            _say_missing(path, defaults)
        return defaults
    return kept_defaults(path)


def kept_defaults(path: Path) -> Defaults:
    """What sfv.json says; SfvError for what is none."""
    try:
        return Defaults(**read_json(path))
    except (ValidationError, TypeError) as error:
        raise SfvError(f"{path} is not valid ({str(error).splitlines()[0]}); delete it or write it again") from error


def written_by_sfv(folder: Path) -> bool:
    """Whether a model's folder holds what sfv alone writes; SVD's own, as diffusers has it, holds none of it."""
    if any(folder.glob("*/sfv.json")) or any((folder / part).is_dir() for part in (SMALL, MATTE, "runs")):
        return True
    scheduler = folder / "scheduler" / "scheduler_config.json"
    return scheduler.is_file() and "_diffusers_version" not in read_json(scheduler)


@functools.cache
def _say_missing(path: Path, defaults: Defaults) -> None:
    """Once for every file: a student without it is asked as a teacher."""
    how = f"{defaults.steps} network calls, guidance {defaults.guidance:g}, motion {defaults.motion:g}"
    say(
        f"sfv: {path} is missing, so this model is asked as if nobody had distilled it ({how}); copy the file from "
        "where the model came from, or say how to ask it (--steps, --guidance, --motion)",
        wrong=True,
    )


def _own(denoiser: SVDDenoiser, codec: SVDCodec) -> Defaults:
    """SVD's: 576x1024 for its sample_size of 96, or none."""
    config = denoiser.unet.config
    side = codec.stride * int(config.sample_size or 96)
    height, width = SVD_SIZE if config.sample_size in (96, None) else (side, side)
    return Defaults(frames=config.num_frames, height=height, width=width)


def hash_of(files: list[Path]) -> str:
    """16 hex digits over sizes, headers and first and last 4 MiB of each weight file: quick even for 9 GB."""
    digest, edge = hashlib.sha256(), 4 << 20
    for file in files:
        size = file.stat().st_size
        with open(file, "rb") as stream:
            digest.update(f"{file.parent.name}/{file.name}:{size}".encode() + stream.read(edge))
            stream.seek(max(0, size - edge))
            digest.update(stream.read(edge))
    return digest.hexdigest()[:16]


_PREPROCESSOR = {
    "feature_extractor_type": "CLIPFeatureExtractor",
    "image_processor_type": "CLIPImageProcessor",
    "do_resize": True,
    "size": {"shortest_edge": CLIP_SIZE},
    "resample": 3,
    "do_center_crop": True,
    "crop_size": {"height": CLIP_SIZE, "width": CLIP_SIZE},
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "do_normalize": True,
    "image_mean": list(CLIP_MEAN),
    "image_std": list(CLIP_STD),
    "do_convert_rgb": True,
}

SCHEDULER = {
    "_class_name": "EulerDiscreteScheduler",
    "prediction_type": "v_prediction",
    "use_karras_sigmas": True,
    "timestep_type": "continuous",
    "timestep_spacing": "leading",
    "interpolation_type": "linear",
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "steps_offset": 1,
    "trained_betas": None,
}

_INDEX = {
    "_class_name": "StableVideoDiffusionPipeline",
    "feature_extractor": ["transformers", "CLIPImageProcessor"],
    "image_encoder": ["transformers", "CLIPVisionModelWithProjection"],
    "scheduler": ["diffusers", "EulerDiscreteScheduler"],
    "unet": ["diffusers", "UNetSpatioTemporalConditionModel"],
    "vae": ["diffusers", "AutoencoderKLTemporalDecoder"],
}
