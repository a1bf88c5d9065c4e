"""One file and adapters under other programs' names, read back by diffusers' own converters."""

import copy
from pathlib import Path

import pytest
import tiny_wan
import torch
from diffusers import WanTransformer3DModel
from diffusers.loaders.lora_conversion_utils import _convert_non_diffusers_wan_lora_to_diffusers
from diffusers.loaders.single_file_utils import convert_wan_transformer_to_diffusers
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from sfv.cli.main import main
from sfv.errors import SfvError
from sfv.families.base import VideoModel
from sfv.families.load import export_lora, export_single
from sfv.families.wan.family import NOTICE
from sfv.families.wan.single_file import lora_for_comfyui


def test_one_file_is_what_diffusers_converts_back(wan_folder: Path, tmp_path: Path) -> None:
    told = export_single(wan_folder, tmp_path / "wan.safetensors", torch.float32)
    state = load_file(tmp_path / "wan.safetensors")
    with safe_open(tmp_path / "wan.safetensors", "pt") as opened:
        assert opened.metadata()["notice"] == NOTICE
    assert {"head.modulation", "head.head.weight", "patch_embedding.weight", "blocks.0.self_attn.q.weight"} <= set(
        state
    )
    assert {"blocks.0.norm3.weight", "blocks.0.modulation", "blocks.0.cross_attn.norm_k.weight"} <= set(state)
    again = convert_wan_transformer_to_diffusers(dict(state))
    whole = WanTransformer3DModel.from_pretrained(wan_folder / "transformer").state_dict()
    assert again.keys() == whole.keys() and all(torch.equal(again[k], v) for k, v in whole.items())
    assert "transformer alone" in told


def test_adapters_do_in_diffusers_what_they_do_here(wan: VideoModel, wan_folder: Path, tmp_path: Path) -> None:
    """Read by the pipeline under PEFT's names; ComfyUI's are what diffusers' own converter takes for the original's."""
    D = copy.deepcopy(wan.denoiser)
    with torch.no_grad():
        for i, p in enumerate(D.adapt(2)):
            p += 0.1 * torch.randn(p.shape, generator=torch.Generator().manual_seed(i))
    model = tmp_path / "model"
    (model / "runs" / "student").mkdir(parents=True)
    save_file({k: v.contiguous() for k, v in D.adapter_state().items()}, model / "runs/student/lora.safetensors")
    (model / "model_index.json").write_text((wan_folder / "model_index.json").read_text())
    files = {}
    for to in ("comfyui", "peft"):
        export_lora(model, tmp_path / f"{to}.safetensors", to)  # type: ignore[arg-type]
        files[to] = load_file(tmp_path / f"{to}.safetensors")
    pipe = tiny_wan.stock(wan_folder)
    D.merge()
    x, t, text = torch.randn(1, 8, 2, 4, 4), torch.tensor([500.0]), torch.randn(1, 512, 32)
    want = D.transformer(x, t, text, return_dict=False)[0]  # type: ignore[operator]
    assert not torch.allclose(pipe.transformer(x, t, text, return_dict=False)[0], want, atol=1e-3)
    pipe.load_lora_weights(dict(files["peft"]))
    torch.testing.assert_close(pipe.transformer(x, t, text, return_dict=False)[0], want, atol=1e-4, rtol=1e-3)
    converted = _convert_non_diffusers_wan_lora_to_diffusers(dict(files["comfyui"]))
    assert converted.keys() == files["peft"].keys()
    assert all(torch.equal(converted[k], v) for k, v in files["peft"].items())


def test_every_adapted_layer_is_in_the_one_file(wan: VideoModel, wan_folder: Path, tmp_path: Path) -> None:
    """ComfyUI finds a layer by its weight's name in the model's file, after diffusion_model."""
    export_single(wan_folder, tmp_path / "wan.safetensors", torch.float16)
    weights = {f"diffusion_model.{k.removesuffix('.weight')}" for k in load_file(tmp_path / "wan.safetensors")}
    D = copy.deepcopy(wan.denoiser)
    D.adapt(2)
    layers = {k.partition(".lora_")[0] for k in lora_for_comfyui(D.adapter_state())}
    assert len(layers) == 40 and layers <= weights


def test_the_command_and_its_refusals(wan_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", str(wan_folder), str(tmp_path / "one.safetensors"), "--to", "single-file"]) == 0
    assert NOTICE in capsys.readouterr().out
    assert main(["export", str(wan_folder), str(tmp_path / "l.safetensors"), "--to", "lora"]) == 1
    assert "only students trained with lora" in capsys.readouterr().err
    assert main(["export", "sticker", str(tmp_path / "s.safetensors"), "--to", "lora"]) == 1
    assert "no other program reads" in capsys.readouterr().err
    (tmp_path / "mine.safetensors").write_bytes(b"mine")
    with pytest.raises(SfvError, match="was not written by sfv"):
        export_single(wan_folder, tmp_path / "mine.safetensors", torch.float16)
