"""Wan's transformer and its adapters under the names of Wan's own repository, as ComfyUI's loaders expect them.

Of the original release the transformer is a file of its own, and so it is here; autoencoder and text encoder are the
original's files, which training leaves as they are. Facts of the layout: github.com/Wan-Video/Wan2.2, wan/modules.
"""

from pathlib import Path

import torch
from diffusers import WanTransformer3DModel
from torch import Tensor

from sfv.families.family import LoraNames
from sfv.families.svd.folder import check_target, trained_adapters, write_lora
from sfv.families.wan.folder import TRANSFORMER, check_layout
from sfv.families.wan.network import opened
from sfv.media import replacing
from sfv.system.files import make_folder
from sfv.system.stream import write_tensors

TOP = {
    "condition_embedder.time_embedder.linear_1": "time_embedding.0",
    "condition_embedder.time_embedder.linear_2": "time_embedding.2",
    "condition_embedder.text_embedder.linear_1": "text_embedding.0",
    "condition_embedder.text_embedder.linear_2": "text_embedding.2",
    "condition_embedder.time_proj": "time_projection.1",
    "patch_embedding": "patch_embedding",
    "proj_out": "head.head",
    "scale_shift_table": "head.modulation",
}
"""Outside the blocks: diffusers' names and the original's."""
INSIDE = [
    ("attn1.", "self_attn."),
    ("attn2.", "cross_attn."),
    ("to_out.0", "o"),
    ("to_q", "q"),
    ("to_k", "k"),
    ("to_v", "v"),
    ("ffn.net.0.proj", "ffn.0"),
    ("ffn.net.2", "ffn.2"),
    ("norm2", "norm3"),
    ("scale_shift_table", "modulation"),
]
"""Inside a block; the norm before attention to words is the third there and the second here."""
LORA = "transformer.", "diffusion_model."
"""What stands before the names of adapted layers: diffusers' and ComfyUI's."""


def original(key: str) -> str:
    """diffusers' key of a weight or a layer -> the original's."""
    if not key.startswith("blocks."):
        stem = next(s for s in TOP if key == s or key.startswith(f"{s}."))
        return TOP[stem] + key.removeprefix(stem)
    for ours, theirs in INSIDE:
        key = key.replace(ours, theirs)
    return key


def export_single(folder: Path, out: Path, dtype: torch.dtype, notice: str) -> str:
    """Write a folder's transformer as one safetensors file. Returns what else its user should know."""
    check_target(out, notice)
    check_layout(folder)
    state = opened(WanTransformer3DModel, folder / TRANSFORMER, dtype).state_dict()
    make_folder(out.parent)
    with replacing(out) as beside, open(beside, "wb") as file:
        named = {original(k): v for k, v in state.items()}
        write_tensors(file, named, dtype, {"notice": notice, "format": "pt"})
    return "It holds the transformer alone; the autoencoder (VAE) and text encoder are those of Wan2.2's own files."


def export_lora(folder: Path, out: Path, to: LoraNames, notice: str) -> None:
    """Write the adapters of a folder's student run: for ComfyUI, or by PEFT's names for diffusers."""
    check_target(out, notice)
    kept = trained_adapters(folder)
    write_lora(lora_for_comfyui(kept) if to == "comfyui" else kept, out, notice)


def lora_for_comfyui(adapters: dict[str, Tensor]) -> dict[str, Tensor]:
    """The original's layer names after diffusion_model; ComfyUI reads lora_A and lora_B, and takes 1 for no alpha."""
    ours, theirs = LORA
    renamed = {}
    for key, value in adapters.items():
        layer, _, matrix = key.removeprefix(ours).partition(".lora_")
        renamed[f"{theirs}{original(layer)}.lora_{matrix}"] = value
    return renamed
