"""UNet files of either naming become folders; whatever is no such UNet is one sentence."""

import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from sfv.cli.main import main
from sfv.errors import SfvError
from sfv.families.load import load
from sfv.families.svd.import_unet import import_unet
from sfv.families.svd.random_weights import write_random
from sfv.families.svd.settings import ImportSettings
from sfv.families.svd.single_file import UNET, unet_to_single

FILE = "unet/diffusion_pytorch_model.safetensors"


@pytest.fixture(scope="module")
def random_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("random") / "svd"
    assert write_random(folder, "tiny", torch.float16) > 1e5
    return folder


@pytest.fixture(scope="module")
def student(random_folder: Path) -> dict[str, torch.Tensor]:
    """Another UNet's weights."""
    return {k: v + 1 for k, v in load_file(random_folder / FILE).items()}


def named(state: dict[str, Any], how: str) -> dict[str, Any]:
    theirs = unet_to_single(state, 2)
    if how == "compiled":
        return {f"_orig_mod.module.unet.{k}": v for k, v in state.items()}
    if how == "wrapped":
        return {f"diffusion_model.{k.removeprefix(UNET)}": v for k, v in theirs.items()}
    if how == "whole":
        return theirs | {"first_stage_model.encoder.conv_in.weight": torch.zeros(1)}
    return {k.removeprefix(UNET): v for k, v in theirs.items()} if how == "original" else state


@pytest.mark.parametrize("how", ["diffusers", "original", "whole", "compiled", "wrapped"])
def test_a_file_over_a_folder(
    random_folder: Path, student: dict[str, torch.Tensor], how: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_file(named(student, how), tmp_path / "lcm.safetensors")
    out = tmp_path / "made"
    asked = ["import", str(tmp_path / "lcm.safetensors"), str(random_folder), str(out), "--guidance", "1.2"]
    assert main([*asked, "--frames", "6"]) == 0
    assert "licence" in capsys.readouterr().out
    got = load_file(out / FILE)
    assert got.keys() == student.keys() and all(torch.equal(got[k], student[k]) for k in got)
    own = load(out).defaults
    assert (own.sampler, own.steps, own.guidance, own.frames) == ("consistency", 4, 1.2, 6)
    vae = "vae/diffusion_pytorch_model.safetensors"
    assert os.path.samefile(out / vae, random_folder / vae), "linked, not copied"


def test_bad_files_say_so(random_folder: Path, student: dict[str, torch.Tensor], tmp_path: Path) -> None:
    path, out = tmp_path / "x.safetensors", tmp_path / "made"
    del (short := dict(student))["conv_in.bias"]
    for state in (short, student | {"conv_in.bias": torch.zeros(3)}, {"lora_A.weight": torch.zeros(2)}):
        save_file(state, path)
        with pytest.raises(SfvError, match="conv_in|time_embedding"):
            import_unet(path, random_folder, out)
        assert not out.exists()
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 4\n")
    with pytest.raises(SfvError, match="git lfs pull"):
        import_unet(path, random_folder, out)
    path.write_bytes(b"nothing")
    with pytest.raises(SfvError, match="not a whole safetensors"):
        import_unet(path, random_folder, out, ImportSettings())
    with pytest.raises(SfvError, match="not a .safetensors file, and opening a pickle can run"):
        import_unet(tmp_path / "x.ckpt", random_folder, out)
    with pytest.raises(SfvError, match="sfv import x.safetensors SVD OUT"):
        load(path)
    with pytest.raises(SfvError, match="a pickle, which is never opened.*sfv import"):
        load(tmp_path / "x.ckpt")
    with pytest.raises(SfvError, match="not empty"):
        import_unet(path, random_folder, random_folder)


def test_random_folders_are_svds_in_small(random_folder: Path, tmp_path: Path) -> None:
    assert "drawn at random" in (random_folder / "README.md").read_text()
    model = load(random_folder)
    unet = model.denoiser.unet.config  # type: ignore[union-attr]
    assert (model.sigma_max, len(unet.block_out_channels), unet.layers_per_block) == (700.0, 4, 2)
    assert model.codec.latent_shape(4, 64, 64) == (4, 4, 8, 8)
    with pytest.raises(SfvError, match="not empty"):
        write_random(random_folder, "tiny")
    with pytest.raises(SfvError, match="unknown"):
        write_random(tmp_path / "new", "huge")
    assert not (tmp_path / "new").exists()


def test_an_encoder_that_overflows_in_half_precision_computes_in_float32(random_folder: Path, tmp_path: Path) -> None:
    """SVD's configuration asks for it (force_upcast): otherwise latents are not finite and frames are black."""
    model = load(random_folder, dtype=torch.float16)
    pixels, vae = torch.rand(1, 1, 3, 64, 64) * 2 - 1, model.codec.vae  # type: ignore[union-attr]
    with torch.inference_mode():
        weight = vae.encoder.down_blocks[-1].resnets[-1].conv2.weight  # type: ignore[union-attr]
        weight.copy_(weight.float() * (6e4 / float(weight.abs().max())))  # type: ignore[operator,arg-type]
        assert not bool(vae.quant_conv(vae.encoder(pixels[0].half())).isfinite().all())  # type: ignore[operator]
        raw = model.codec.encode_raw(pixels)  # type: ignore[attr-defined]
        assert raw.dtype == torch.float32 and bool(raw.isfinite().all())
        assert vae.dtype == torch.float16
        vae.float()  # type: ignore[operator]
        torch.testing.assert_close(raw, model.codec.encode_raw(pixels), rtol=1e-4, atol=1e-4)  # type: ignore[attr-defined]


def test_numbers_that_are_not_finite_are_named(
    random_folder: Path, student: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    for bad in (float("nan"), float("inf")):
        wrong = student["conv_out.bias"].clone()
        wrong[1] = bad
        save_file(student | {"conv_out.bias": wrong}, tmp_path / "x.safetensors")
        with pytest.raises(SfvError, match=r"x\.safetensors holds weights that are not finite numbers \(conv_out.bias"):
            import_unet(tmp_path / "x.safetensors", random_folder, tmp_path / "made")
        assert [p.name for p in tmp_path.iterdir()] == ["x.safetensors"]


def test_an_import_that_was_cut_off_begins_again(
    random_folder: Path, student: dict[str, torch.Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk in the middle leaves nothing, a kill nothing that is in the way; a file is no folder."""
    save_file(student, tmp_path / "x.safetensors")
    out = tmp_path / "made"

    def full(*_: object) -> None:
        raise SafetensorError("I/O error: No space left on device (os error 28)")

    with monkeypatch.context() as patch:
        patch.setattr("sfv.families.svd.import_unet.save_file", full)
        with pytest.raises(SfvError, match=rf"{out}/unet/.* cannot be written \(No space left on device\)"):
            import_unet(tmp_path / "x.safetensors", random_folder, out)
        assert [p.name for p in tmp_path.iterdir()] == ["x.safetensors"]
        patch.setattr("sfv.system.files.shutil.rmtree", lambda *_, **__: None)
        with pytest.raises(SfvError, match="No space left"):
            import_unet(tmp_path / "x.safetensors", random_folder, out)
    import_unet(tmp_path / "x.safetensors", random_folder, out)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["made", "x.safetensors"] and load(out)
    with pytest.raises(SfvError, match="x.safetensors is a file; name a new folder"):
        import_unet(tmp_path / "x.safetensors", random_folder, tmp_path / "x.safetensors")
    with pytest.raises(SfvError, match="made is not empty"):
        import_unet(tmp_path / "x.safetensors", random_folder, out)


def test_a_base_without_a_part_is_named(random_folder: Path, student: dict[str, torch.Tensor], tmp_path: Path) -> None:
    save_file(student, tmp_path / "x.safetensors")
    shutil.copytree(random_folder, tmp_path / "svd")
    shutil.rmtree(tmp_path / "svd" / "scheduler")
    with pytest.raises(SfvError, match="scheduler is missing; an SVD folder has"):
        import_unet(tmp_path / "x.safetensors", tmp_path / "svd", tmp_path / "made")
