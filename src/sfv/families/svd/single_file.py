"""SVD as one safetensors file in Stability's original key layout, as ComfyUI's SVD loader expects it.

`model.diffusion_model.*` (UNet), `first_stage_model.*` (autoencoder), `conditioner.embedders.0.open_clip.model.
visual.*` (picture encoder) and `conditioner.embedders.3.encoder.*` (the autoencoder of single pictures, which makes the
latents beside the noise). Facts of the layout: Stability-AI/generative-models; the UNet's block numbering is that of
OpenAI's guided diffusion. Two things have no key of their own there: the autoencoder's `quant_conv` is folded into
the layer before it (exact), and query, key and value of the picture encoder lie in one matrix.
"""

import re
from typing import Any

import torch
from torch import Tensor

State = dict[str, Tensor]
UNET, VAE, CLIP = "model.diffusion_model.", "first_stage_model.", "conditioner.embedders.0.open_clip.model.visual."
PICTURES = "conditioner.embedders.3.encoder."
WRAPPERS = ("module.", "_orig_mod.", "unet.", "diffusion_model.")
"""What trainers and compilers put before a UNet's names."""

RES = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
TOP = {
    "conv_in": "input_blocks.0.0",
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}
TRANSFORMER = [
    ("temporal_transformer_blocks.", "time_stack."),
    ("time_pos_embed.linear_1", "time_pos_embed.0"),
    ("time_pos_embed.linear_2", "time_pos_embed.2"),
]


def unet_key(key: str, down_layers: int) -> str:
    """diffusers' UNet key -> the original's. `down_layers`: residual blocks of a down block (SVD: 2)."""
    stem, _, leaf = key.rpartition(".")
    if stem in TOP:
        return f"{TOP[stem]}.{leaf}"
    match = re.fullmatch(r"(down_blocks|up_blocks|mid_block)\.?(\d*)\.(\w+)\.(\d+)\.(.+)", key)
    assert match, key
    side, block, kind, at, rest = match[1], int(match[2] or 0), match[3], int(match[4]), match[5]
    if side == "mid_block":
        place = f"middle_block.{1 if kind == 'attentions' else 2 * at}"
    elif side == "down_blocks":
        first = 1 + block * (down_layers + 1)
        place = f"input_blocks.{first + (down_layers if kind == 'downsamplers' else at)}"
        place += {"resnets": ".0", "attentions": ".1", "downsamplers": ".0"}[kind]
    else:
        number = block * (down_layers + 1) + (down_layers if kind == "upsamplers" else at)
        place = f"output_blocks.{number}" + {"resnets": ".0", "attentions": ".1", "upsamplers": ".U"}[kind]
    return f"{place}.{_inside(kind, rest)}"


def _inside(kind: str, rest: str) -> str:
    """A key inside one residual block, transformer or resampler."""
    if kind == "attentions":
        for ours, theirs in TRANSFORMER:
            rest = rest.replace(ours, theirs)
        return rest
    if kind == "downsamplers":
        return rest.replace("conv.", "op.")
    if kind == "upsamplers" or rest.startswith("time_mixer"):
        return rest
    half, _, rest = rest.partition(".")
    name, _, leaf = rest.rpartition(".")
    return f"{'time_stack.' if half == 'temporal_res_block' else ''}{RES[name]}.{leaf}"


def unet_to_single(state: State, down_layers: int) -> State:
    """The UNet's weights under their original keys; an upsampler stands after the attention, where there is one."""
    renamed = {unet_key(k, down_layers): v for k, v in state.items()}
    attending = {k.split(".1.")[0] for k in renamed if re.match(r"output_blocks\.\d+\.1\.", k)}
    return {UNET + k.replace(".U.", ".2." if k.split(".U.")[0] in attending else ".1."): v for k, v in renamed.items()}


def vae_key(key: str, blocks: int) -> str:
    """diffusers' temporal autoencoder key -> the original's. `blocks`: levels (SVD: 4)."""
    side, _, rest = key.partition(".")
    rest = rest.replace("conv_norm_out", "norm_out").replace("time_conv_out", "conv_out.time_mix_conv")
    match = re.fullmatch(r"(down_blocks|up_blocks)\.(\d+)\.(resnets|downsamplers|upsamplers)\.(\d+)\.(.+)", rest)
    if match:
        level = int(match[2]) if match[1] == "down_blocks" else blocks - 1 - int(match[2])
        place = f"{match[1].partition('_')[0]}.{level}"
        if match[3] != "resnets":
            return f"{side}.{place}.{match[3].removesuffix('rs')}.{match[5]}"
        return f"{side}.{place}.block.{match[4]}.{_vae_res(match[5])}"
    match = re.fullmatch(r"mid_block\.(resnets|attentions)\.(\d+)\.(.+)", rest)
    if match is None:
        return f"{side}.{rest}"
    if match[1] == "resnets":
        return f"{side}.mid.block_{int(match[2]) + 1}.{_vae_res(match[3])}"
    names = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}
    name, _, leaf = match[3].rpartition(".")
    return f"{side}.mid.attn_1.{names[name]}.{leaf}"


def _vae_res(rest: str) -> str:
    """A key inside one of its residual blocks; spatial ones have plain names, temporal ones the UNet's."""
    if rest == "time_mixer.mix_factor":
        return "mix_factor"
    half, _, inner = rest.partition(".")
    name, _, leaf = inner.rpartition(".")
    if half == "temporal_res_block":
        return f"time_stack.{RES[name]}.{leaf}"
    return (inner if half == "spatial_res_block" else rest).replace("conv_shortcut", "nin_shortcut")


def vae_to_single(state: State, blocks: int) -> State:
    """The autoencoder's weights under their original keys: quant_conv folded, attention as 1x1 convolutions."""
    renamed = {vae_key(k, blocks): v for k, v in state.items() if not k.startswith("quant_conv")}
    mix = state["quant_conv.weight"][:, :, 0, 0].double()
    weight, bias = renamed["encoder.conv_out.weight"].double(), renamed["encoder.conv_out.bias"].double()
    dtype = state["quant_conv.weight"].dtype
    renamed["encoder.conv_out.weight"] = torch.einsum("ij,jkyx->ikyx", mix, weight).to(dtype)
    renamed["encoder.conv_out.bias"] = (mix @ bias + state["quant_conv.bias"].double()).to(dtype)
    flat = [k for k in renamed if re.search(r"attn_1\.(q|k|v|proj_out)\.weight$", k)]
    return {VAE + k: v[:, :, None, None] if k in flat else v for k, v in renamed.items()}


def picture_vae_to_single(state: State, blocks: int) -> State:
    """The autoencoder of single pictures under its original keys: the encoder, with its quant_conv, and a decoder.

    SVD never decodes with it; it is the layers of the video decoder that see single frames, so that no key is missing.
    """
    renamed = {k if k.startswith("quant_conv") else vae_key(k, blocks): v for k, v in state.items()}
    kept = {k: v for k, v in renamed.items() if not re.search(r"time_stack|mix_factor|time_mix_conv", k)}
    channels = int(state["decoder.conv_in.weight"].shape[1])
    like = state["decoder.conv_in.weight"]
    kept["post_quant_conv.weight"] = torch.eye(channels, dtype=like.dtype, device=like.device)[:, :, None, None]
    kept["post_quant_conv.bias"] = torch.zeros(channels, dtype=like.dtype, device=like.device)
    flat = [k for k in kept if re.search(r"attn_1\.(q|k|v|proj_out)\.weight$", k)]
    return {PICTURES + k: v[:, :, None, None] if k in flat else v for k, v in kept.items()}


def clip_to_single(state: State) -> State:
    """The picture encoder's weights under open_clip's keys."""
    inside = {"layer_norm1": "ln_1", "layer_norm2": "ln_2", "mlp.fc1": "mlp.c_fc", "mlp.fc2": "mlp.c_proj"}
    inside |= {"self_attn.out_proj": "attn.out_proj"}
    outside = {
        "vision_model.embeddings.class_embedding": "class_embedding",
        "vision_model.embeddings.position_embedding.weight": "positional_embedding",
        "vision_model.embeddings.patch_embedding.weight": "conv1.weight",
    }
    renamed: State = {}
    for key, value in state.items():
        match = re.fullmatch(r"vision_model\.encoder\.layers\.(\d+)\.(.+)\.(weight|bias)", key)
        if match and match[2] == "self_attn.q_proj":
            parts = [state[key.replace("q_proj", f"{p}_proj")] for p in "qkv"]
            renamed[f"transformer.resblocks.{match[1]}.attn.in_proj_{match[3]}"] = torch.cat(parts)
        elif match and match[2] in inside:
            renamed[f"transformer.resblocks.{match[1]}.{inside[match[2]]}.{match[3]}"] = value
        elif key == "visual_projection.weight":
            renamed["proj"] = value.T
        elif key in outside:
            renamed[outside[key]] = value
        elif match is None and not key.endswith("position_ids"):
            short = key.removeprefix("vision_model.").replace("pre_layrnorm", "ln_pre")
            renamed[short.replace("post_layernorm", "ln_post")] = value
    return {CLIP + k: v for k, v in renamed.items()}


def to_single(unet: Any, vae: Any, image_encoder: Any) -> State:
    """Three diffusers / transformers modules -> the original checkpoint's tensors, contiguous."""
    renamed = unet_to_single(unet.state_dict(), int(unet.config.layers_per_block))
    renamed |= vae_to_single(vae.state_dict(), len(vae.config.block_out_channels))
    renamed |= picture_vae_to_single(vae.state_dict(), len(vae.config.block_out_channels))
    renamed |= clip_to_single(image_encoder.state_dict())
    return {k: v.detach().contiguous() for k, v in renamed.items()}


def unet_from_file(state: State, names: dict[str, torch.Size], down_layers: int) -> State:
    """The UNet's tensors of one file under diffusers' names, whichever of three ways they are named there.

    diffusers' own, the original's, or the original's inside a whole checkpoint (what is not the UNet's is left);
    whatever stands before them (`WRAPPERS`) is taken away.
    `names`: the shapes that the UNet asks for. KeyError names the first that is missing or of another shape.
    """
    state = {_unwrapped(k): v for k, v in state.items()}
    numbers = {k: torch.tensor(i) for i, k in enumerate(names)}
    theirs = {key: list(names)[int(i)] for key, i in unet_to_single(numbers, down_layers).items()}
    bare = {key.removeprefix(UNET): name for key, name in theirs.items()}
    known = next((table for table in (theirs, bare) if not table.keys().isdisjoint(state)), {k: k for k in names})
    found = {name: state[key] for key, name in known.items() if key in state}
    for name, shape in names.items():
        if name not in found or found[name].shape != shape:
            raise KeyError(f"{name} {tuple(shape)}")
    return found


def _unwrapped(key: str) -> str:
    while wrapper := next((w for w in WRAPPERS if key.startswith(w)), None):
        key = key.removeprefix(wrapper)
    return key


def lora_for_comfyui(state: State, down_layers: int) -> State:
    """Adapters (lora.adapter_state) under the names that ComfyUI's LoRA loader looks for in a model of SVD's layout.

    Its rule: a model's key without `.weight`, then `.lora_A.weight`, `.lora_B.weight` and `.alpha`.
    """
    made: State = {}
    for key, value in state.items():
        layer, half = _layer(key)
        stem = f"{UNET.removeprefix('model.')}{unet_key(layer + '.weight', down_layers).removesuffix('.weight')}"
        made[f"{stem}.{half}.weight"] = value
        if half == "lora_A":
            made[f"{stem}.alpha"] = torch.tensor(float(len(value)))
    return made


def lora_for_peft(state: State) -> State:
    """Adapters under the names that PEFT's `set_peft_model_state_dict` looks for in diffusers' UNet."""
    return {"{}.{}.weight".format(*_layer(key)): value for key, value in state.items()}


def _layer(key: str) -> tuple[str, str]:
    """unet.LAYER.HALF.weight -> both."""
    layer, half, _ = key.removeprefix("unet.").rsplit(".", 2)
    return layer, half
