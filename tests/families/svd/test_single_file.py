"""One file in the original layout: names against published ones, values there and back."""

import re
from pathlib import Path

import pytest
import torch
from diffusers import UNetSpatioTemporalConditionModel
from safetensors import safe_open
from safetensors.torch import load_file

from sfv.cli.main import main
from sfv.errors import SfvError
from sfv.families.base import VideoModel
from sfv.families.load import load
from sfv.families.svd.autoencoder import Autoencoder
from sfv.families.svd.folder import export_lora, export_single
from sfv.families.svd.single_file import (
    CLIP,
    UNET,
    VAE,
    State,
    clip_to_single,
    picture_vae_to_single,
    to_single,
    unet_to_single,
    vae_key,
)
from sfv.families.svd.sizes import SVD_VAE

PUBLISHED = """
input_blocks.0.0.weight input_blocks.1.0.in_layers.0.weight input_blocks.1.0.time_stack.in_layers.0.bias
input_blocks.1.0.time_stack.emb_layers.1.weight input_blocks.1.0.time_mixer.mix_factor
input_blocks.1.1.time_stack.0.norm_in.weight input_blocks.1.1.transformer_blocks.0.attn1.to_k.weight
input_blocks.3.0.op.weight input_blocks.4.0.skip_connection.weight input_blocks.11.0.out_layers.3.weight
middle_block.0.time_stack.out_layers.3.bias middle_block.1.time_pos_embed.0.bias middle_block.1.time_pos_embed.2.weight
middle_block.1.time_mixer.mix_factor middle_block.1.time_stack.0.attn1.to_out.0.bias middle_block.2.in_layers.2.weight
output_blocks.2.1.conv.weight output_blocks.5.2.conv.weight output_blocks.9.1.time_stack.0.norm_in.weight
output_blocks.11.1.proj_out.weight out.0.weight out.2.bias time_embed.2.weight label_emb.0.0.weight
""".split()
"""Keys of Stability's svd.safetensors, as several converters publish them."""


def test_full_size_unet_keys_are_the_published_ones() -> None:
    with torch.device("meta"):
        unet = UNetSpatioTemporalConditionModel()
    state = unet.state_dict()
    made = unet_to_single(state, 2)
    assert len(made) == len(state), "no two weights share a key"
    assert not [k for k in PUBLISHED if UNET + k not in made]
    blocks = {k.removeprefix(UNET).split(".")[1] for k in made if k.startswith(UNET + "input_blocks")}
    assert blocks == {str(i) for i in range(12)}


def test_no_key_of_the_published_file_is_missing() -> None:
    """The autoencoder of single pictures has 248 (Stability's AutoencoderKLModeOnly at SVD's size)."""
    vae = Autoencoder.on_meta(**SVD_VAE)
    made = picture_vae_to_single(vae.state_dict(), 4)
    assert len(made) == 248 and all(k.startswith("conditioner.embedders.3.encoder.") for k in made)
    names = {k.removeprefix("conditioner.embedders.3.encoder.") for k in made}
    for key in """quant_conv.weight post_quant_conv.bias encoder.conv_in.weight encoder.down.1.block.0.nin_shortcut.bias
        encoder.down.2.downsample.conv.weight encoder.mid.attn_1.q.weight encoder.norm_out.bias decoder.conv_out.weight
        decoder.up.3.upsample.conv.weight decoder.up.0.block.2.conv2.bias decoder.mid.block_2.norm1.weight""".split():
        assert key in names


def test_pictures_are_encoded_as_before(tiny: VideoModel) -> None:
    """quant_conv and the layer before it stand there as they are, unfolded."""
    vae = tiny.codec.vae  # type: ignore[attr-defined]
    made = picture_vae_to_single(vae.state_dict(), len(vae.config.block_out_channels))
    for name in ("quant_conv.weight", "quant_conv.bias", "encoder.conv_out.weight", "encoder.conv_out.bias"):
        assert torch.equal(made[f"conditioner.embedders.3.encoder.{name}"], vae.state_dict()[name])


def from_single(single: State, unet: State, vae: State, clip: State, down_layers: int, levels: int) -> list[State]:
    """Inverse of `to_single`, given modules' state dicts for names and shapes; quant_conv becomes the identity."""
    made_unet = _pull(single, unet_to_single(_numbered(unet), down_layers), unet)
    plain = {k: v for k, v in vae.items() if not k.startswith("quant_conv")}
    named = {VAE + vae_key(k, levels): torch.tensor(i) for i, k in enumerate(plain)}
    made_vae = _pull(single, named, plain)
    eye = torch.eye(len(vae["quant_conv.weight"])).to(vae["quant_conv.weight"])
    made_vae |= {
        "quant_conv.weight": eye[:, :, None, None],
        "quant_conv.bias": torch.zeros_like(vae["quant_conv.bias"]),
    }
    return [made_unet, made_vae, _clip_back(single, clip)]


def _numbered(state: State) -> State:
    return {k: torch.tensor(i) for i, k in enumerate(state)}


def _pull(single: State, numbers: State, like: State) -> State:
    """For every original key whose number says which of `like`'s names it is: that name's tensor."""
    names = list(like)
    return {names[int(n)]: single[k].reshape(like[names[int(n)]].shape) for k, n in numbers.items()}


def _clip_back(single: State, like: State) -> State:
    """open_clip's keys -> transformers'."""
    made: State = {}
    for key in like:
        probe = clip_to_single({key: torch.zeros(1, 1)} if "_proj" not in key or "out_proj" in key else {})
        if probe:
            value = single[next(iter(probe))]
            made[key] = value.reshape(like[key].shape)
    for key in like:
        match = re.fullmatch(r"vision_model\.encoder\.layers\.(\d+)\.self_attn\.(q|k|v)_proj\.(weight|bias)", key)
        if match:
            whole = single[f"{CLIP}transformer.resblocks.{match[1]}.attn.in_proj_{match[3]}"]
            made[key] = whole.chunk(3)["qkv".index(match[2])]
    made["visual_projection.weight"] = single[f"{CLIP}proj"].T
    return made


def parts(model: VideoModel) -> list[torch.nn.Module]:
    return [model.denoiser.unet, model.codec.vae, model.conditioner.image_encoder]  # type: ignore[attr-defined]


def test_there_and_back(tiny: VideoModel) -> None:
    unet, vae, clip = parts(tiny)
    single = to_single(unet, vae, clip)
    for key in (
        "decoder.mid.block_1.mix_factor",
        "decoder.conv_out.time_mix_conv.weight",
        "encoder.mid.attn_1.q.weight",
    ):
        assert VAE + key in single
    assert f"{CLIP}transformer.resblocks.0.attn.in_proj_weight" in single and CLIP + "proj" in single
    back = from_single(single, *(m.state_dict() for m in (unet, vae, clip)), 1, len(vae.config.block_out_channels))
    for got, module in ((back[0], unet), (back[2], clip)):
        want = {k: v for k, v in module.state_dict().items() if not k.endswith("position_ids")}
        assert got.keys() == want.keys()
        assert all(torch.equal(got[k], want[k]) for k in want)
    pixels = torch.rand(1, 2, 3, 32, 32) * 2 - 1
    with torch.inference_mode():
        before = tiny.codec.encode_raw(pixels), tiny.codec.decode_raw(torch.ones(1, 2, 4, 16, 16))  # type: ignore[attr-defined]
        old = {k: v.clone() for k, v in vae.state_dict().items()}
        vae.load_state_dict(back[1])
        after = tiny.codec.encode_raw(pixels), tiny.codec.decode_raw(torch.ones(1, 2, 4, 16, 16))  # type: ignore[attr-defined]
        vae.load_state_dict(old)
    torch.testing.assert_close(after[0], before[0], atol=1e-5, rtol=1e-5)
    assert torch.equal(after[1], before[1])


def test_export_writes_one_file_with_its_notice(
    tiny_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "one.safetensors"
    assert main(["export", str(tiny_folder), str(out), "--to", "single-file"]) == 0
    tensors = load_file(out)
    assert {k.split(".")[0] for k in tensors} == {"model", "first_stage_model", "conditioner"}
    assert all(v.dtype == torch.float16 for v in tensors.values())
    said = capsys.readouterr()
    assert "will not detect this model's type" in said.err and "MB of weights" in said.out
    unet = load(tiny_folder).denoiser.unet.state_dict()  # type: ignore[union-attr]
    assert torch.equal(tensors[UNET + "input_blocks.0.0.weight"], unet["conv_in.weight"].half())
    with safe_open(out, "pt") as file:
        assert "licence" in file.metadata()["notice"]
    with pytest.raises(SfvError, match="must end in .safetensors"):
        export_single(tiny_folder, tmp_path / "folder", torch.float16)
    with pytest.raises(SfvError, match="lora > 0"):
        export_lora(tiny_folder, tmp_path / "l.safetensors")
