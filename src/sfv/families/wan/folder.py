"""Wan models on disk: the diffusers folder layout, read strictly and written whole.

A folder holds model_index.json and the sub-folders transformer, vae, scheduler, tokenizer and text_encoder; the last
two may be missing where prompts.safetensors holds the embeddings that are needed. `unet`, the name that the rest of sfv
has for a model's denoiser, is the sub-folder transformer; `sfv.json` in it keeps that denoiser's defaults.
"""

from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKLWan, WanTransformer3DModel

from sfv.errors import SfvError
from sfv.families.base import VideoModel
from sfv.families.svd.folder import hash_of, read_defaults, unusual, with_unusual, write_defaults
from sfv.families.svd.network import DIFFUSERS, read_json, weight_files, write_json
from sfv.families.wan.codec import WanCodec
from sfv.families.wan.conditioner import WanConditioner
from sfv.families.wan.network import opened, store
from sfv.families.wan.networks import WanDenoiser
from sfv.families.wan.prompts import ENCODER, TOKENIZER, Prompts
from sfv.settings import Defaults
from sfv.system.files import link_or_copy, make_folder

TRANSFORMER, VAE, SCHEDULER = "transformer", "vae", "scheduler"
SIGMA_MIN, SIGMA_MAX = 1 / 999, 999.0
"""t = 0.001 and 0.999, of the thousand steps of its training."""
SIZE, FRAMES, FPS, GUIDANCE, SHIFT = (704, 1280), 121, 24, 5.0, 5.0
"""Wan2.2 TI2V-5B's own (github.com/Wan-Video/Wan2.2, wan/configs). Its 50 steps are 25 here, as everywhere in sfv."""


def load(folder: Path, unet: str, dtype: torch.dtype, name: str) -> VideoModel:
    """Open a folder; `unet` names the denoiser's sub-folder. All weights must be present, finite and of the layout."""
    check_layout(folder)
    digest, shift = weights_hash(folder, unet), flow_shift(folder)
    transformer = opened(WanTransformer3DModel, folder / part(unet), dtype)
    codec = WanCodec(opened(AutoencoderKLWan, folder / VAE, dtype), transformer.config.patch_size[1])
    denoiser = WanDenoiser(transformer)
    return VideoModel(
        name=name,
        family="wan",
        denoiser=denoiser,
        codec=codec,
        conditioner=WanConditioner(codec, Prompts(folder, text_encoder_hash(folder))),
        sigma_min=SIGMA_MIN,
        sigma_max=SIGMA_MAX,
        rho=7.0,
        defaults=read_defaults(folder / part(unet), own_defaults()),
        hash=digest,
        flow_shift=shift,
    )


def own_defaults() -> Defaults:
    """What Wan2.2 TI2V-5B was made for."""
    height, width = SIZE
    return Defaults(frames=FRAMES, height=height, width=width, fps=FPS, noise_aug=0, guidance=GUIDANCE)


def part(unet: str) -> str:
    """The sub-folder of a denoiser."""
    return TRANSFORMER if unet == "unet" else unet


def check_layout(folder: Path) -> None:
    """SfvError for Wan models that are not TI2V: pairs of experts, and models without a given first frame."""
    known = read_json(folder / "model_index.json")
    if (folder / "transformer_2").is_dir() or known.get("boundary_ratio") is not None:
        raise SfvError(
            f"{folder} holds a pair of experts, as Wan2.2-A14B: transformer for high noise, transformer_2 for low. One "
            "call starts at the highest noise, so the high-noise one is the one to distil; sfv does not do that yet, "
            "use Wan2.2-TI2V-5B"
        )
    if not known.get("expand_timesteps"):
        raise SfvError(
            f"{folder} is a Wan model without expand_timesteps (Wan2.1, or text to video): it is not given its first "
            "frame as Wan2.2-TI2V-5B is; use that model"
        )


def flow_shift(folder: Path) -> float:
    """By how much its scheduler moves times towards noise; 1 is not at all."""
    config = read_json(folder / SCHEDULER / "scheduler_config.json")
    shift = config.get("flow_shift", config.get("shift"))
    if not isinstance(shift, int | float) or not 0.1 <= shift <= 100:
        raise SfvError(f"{folder / SCHEDULER} is not a flow scheduler (shift or flow_shift); use the model's own")
    return float(shift)


def weights_hash(folder: Path, unet: str) -> str:
    """The hash of a folder's weights, and of its scheduler's shift where it is unusual, without opening weights;
    SfvError if files are missing."""
    beside = [ENCODER] if (folder / ENCODER).is_dir() else []
    digest = hash_of([f for sub in (part(unet), VAE, *beside) for f in weight_files(folder / sub)])
    return with_unusual(digest, unusual({"shift": flow_shift(folder)}, {"shift": SHIFT}))


def text_encoder_hash(folder: Path) -> str:
    """Of its text encoder's weights; empty where there is none."""
    return hash_of(weight_files(folder / ENCODER)) if (folder / ENCODER).is_dir() else ""


def save(model: VideoModel, folder: Path, unet: str = "unet", dtype: torch.dtype | None = None) -> None:
    """Write the layout; `dtype` casts the stored weights (the model itself is untouched).

    Tokenizer and text encoder are linked from where they were opened (copied on another disk): they never change.
    The scheduler is written as Euler's under the model's shift, which is how sfv calls the model.
    """
    save_denoiser(model, folder, unet, dtype)
    assert isinstance(model.codec, WanCodec) and isinstance(model.conditioner, WanConditioner)
    store(model.codec.vae, folder / VAE, dtype)
    prompts = model.conditioner.prompts
    prompts.save(folder)
    for sub in (TOKENIZER, ENCODER):
        linked(prompts.folder / sub, folder / sub)
    write_json(folder / SCHEDULER / "scheduler_config.json", _EULER | {"shift": model.flow_shift})
    write_json(folder / "model_index.json", index(text=(folder / ENCODER).is_dir()))


def save_denoiser(model: VideoModel, folder: Path, unet: str, dtype: torch.dtype | None = None) -> None:
    """Write one transformer sub-folder with its defaults."""
    assert isinstance(model.denoiser, WanDenoiser)
    store(model.denoiser.transformer, folder / part(unet), dtype)
    write_defaults(model.defaults, folder, part(unet))


def export(folder: Path, out: Path, dtype: torch.dtype) -> None:
    """Write a trained folder anew in `dtype`, its student and, where there is one, its teacher; runs stay behind."""
    save(load(folder, "unet", dtype, str(folder)), out, "unet", dtype)
    if (folder / "teacher").is_dir():
        save_denoiser(load(folder, "teacher", dtype, str(folder)), out, "teacher", dtype)


def linked(source: Path, target: Path) -> None:
    """A folder's files under another folder: by links to the same data, or copies where that cannot be."""
    if not source.is_dir() or source.resolve() == target.resolve():
        return
    make_folder(target)
    for file in (f for f in source.iterdir() if f.is_file()):
        link_or_copy(file, target / file.name)


def index(text: bool) -> dict[str, Any]:
    """model_index.json; without a text encoder diffusers opens it with text_encoder=None and tokenizer=None, and takes
    prompt_embeds for words."""
    words = {ENCODER: ["transformers", "UMT5EncoderModel"], TOKENIZER: ["transformers", "T5TokenizerFast"]}
    return {
        "_class_name": "WanImageToVideoPipeline",
        "_diffusers_version": DIFFUSERS,
        **(words if text else dict.fromkeys(words, [None, None])),
        "boundary_ratio": None,
        "expand_timesteps": True,
        "image_encoder": [None, None],
        "image_processor": [None, None],
        "scheduler": ["diffusers", "FlowMatchEulerDiscreteScheduler"],
        "transformer": ["diffusers", "WanTransformer3DModel"],
        "transformer_2": [None, None],
        "vae": ["diffusers", "AutoencoderKLWan"],
    }


_EULER = {
    "_class_name": "FlowMatchEulerDiscreteScheduler",
    "_diffusers_version": DIFFUSERS,
    "num_train_timesteps": 1000,
}
