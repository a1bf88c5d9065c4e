"""Model folders: round trips to the bit, layouts, and one clear sentence for every way to be broken."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from diffusers import StableVideoDiffusionPipeline
from PIL import Image
from safetensors.torch import load_file, save_file

from sfv.cli.main import main
from sfv.errors import SfvError
from sfv.families.base import VideoModel
from sfv.families.load import described, load, weights_hash
from sfv.families.svd.folder import hash_of, save
from sfv.families.svd.network import weight_files
from sfv.families.svd.sizes import TINY, new_model
from sfv.families.svd.stock_networks import stock_twin

UNET = "unet/diffusion_pytorch_model.safetensors"


def states(model: VideoModel) -> dict[str, torch.Tensor]:
    parts = {"d": model.denoiser, "c": model.codec, "k": model.conditioner}
    return {f"{n}.{k}": v for n, part in parts.items() for k, v in part.state_dict().items()}


def test_load_save_load_is_bit_equal(tiny: VideoModel, tmp_path: Path) -> None:
    save(tiny, tmp_path / "again")
    again = load(tmp_path / "again")
    before, after = states(tiny), states(again)
    assert before.keys() == after.keys()
    assert all(torch.equal(before[k], after[k]) for k in before)
    assert not any(str(tmp_path.parent) in p.read_text() or "_path" in p.read_text() for p in tmp_path.rglob("*.json"))
    assert again.defaults == tiny.defaults
    assert (again.sigma_min, again.sigma_max, again.hash) == (tiny.sigma_min, tiny.sigma_max, tiny.hash)
    cond = tiny.conditioner(torch.zeros(1, 3, 32, 32), fps=7)
    x = torch.randn(1, 4, 4, 16, 16) * 700
    with torch.inference_mode():
        one, two = (m.denoiser(x, torch.tensor([700.0]), cond) for m in (tiny, again))
    assert torch.equal(one, two)


def test_saved_folder_opens_in_diffusers(tiny_folder: Path) -> None:
    pipe = StableVideoDiffusionPipeline.from_pretrained(tiny_folder)
    assert pipe.scheduler.config.sigma_max == 700.0
    index = json.loads((tiny_folder / "model_index.json").read_text())
    assert index["feature_extractor"] == ["transformers", "CLIPImageProcessor"]


def test_the_stock_pipeline_runs_a_half_precision_export_as_it_is(tiny_folder: Path, tmp_path: Path) -> None:
    """transformers opens a part in the precision that its configuration names, diffusers the others in float32."""
    assert main(["export", str(tiny_folder), str(tmp_path / "half")]) == 0
    pipe = StableVideoDiffusionPipeline.from_pretrained(tmp_path / "half")
    pipe.set_progress_bar_config(disable=True)
    picture = Image.new("RGB", (32, 32), "red")
    asked = {"height": 32, "width": 32, "num_frames": 2, "num_inference_steps": 1, "decode_chunk_size": 2}
    frames = pipe(picture, **asked, output_type="pt").frames
    assert frames.shape[:2] == (1, 2) and bool(torch.isfinite(frames).all())
    half = StableVideoDiffusionPipeline.from_pretrained(tmp_path / "half", dtype=torch.float16)
    assert {half.unet.dtype, half.vae.dtype, half.image_encoder.dtype} == {torch.float16}


def test_what_no_weight_shows_is_part_of_the_hash(tiny_folder: Path, tmp_path: Path) -> None:
    folder, seen = tmp_path / "other", set()
    shutil.copytree(tiny_folder, folder)
    changes = {"scheduler/scheduler_config.json": {"sigma_max": 30}, "vae/config.json": {"scaling_factor": 0.5}}
    for name, change in {**changes, "unet/config.json": {"num_attention_heads": [2, 1]}}.items():
        before = (folder / name).read_text()
        (folder / name).write_text(json.dumps(json.loads(before) | change))
        seen.add(weights_hash(folder))
        (folder / name).write_text(before)
    assert len(seen) == 3 and weights_hash(folder) == weights_hash(tiny_folder) and weights_hash(folder) not in seen


def test_usual_settings_leave_the_hash_that_the_weights_have(tmp_path: Path) -> None:
    """Of SVD's own and of our small models, whose clips name it."""
    save(new_model(TINY, 0), tmp_path)
    files = [f for part in ("unet", "vae", "image_encoder") for f in weight_files(tmp_path / part)]
    assert weights_hash(tmp_path) == hash_of(files)
    own = {"block_out_channels": [320, 640, 1280, 1280], "num_attention_heads": [5, 10, 20, 20]}
    for name, change in {
        "scheduler/scheduler_config": {"sigma_max": 700.0},
        "vae/config": {"scaling_factor": 0.18215},
    }.items():
        path = tmp_path / f"{name}.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | change))
    assert weights_hash(tmp_path) != hash_of(files)
    (tmp_path / "unet" / "config.json").write_text(json.dumps(own))
    assert weights_hash(tmp_path) == hash_of(files)


def lfs_pointer(folder: Path) -> None:
    (folder / UNET).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 4\n")


@pytest.mark.parametrize(("variant", "dtype"), [("fp16", torch.float16), ("bf16", torch.bfloat16)])
def test_variants_and_shards_load_as_the_plain_file(
    tiny_folder: Path, tiny: VideoModel, tmp_path: Path, variant: str, dtype: torch.dtype
) -> None:
    folder = tmp_path / "variant"
    shutil.copytree(tiny_folder, folder)
    unet = tiny.denoiser.unet  # type: ignore[union-attr]
    (folder / UNET).unlink()
    twin = stock_twin(unet)  # type: ignore[arg-type]
    twin.save_pretrained(folder / "unet", max_shard_size="400KB")
    assert len(list((folder / "unet").glob("*.safetensors"))) > 1
    assert torch.equal(states(load(folder))["d.unet.conv_in.weight"], states(tiny)["d.unet.conv_in.weight"])
    for part, name in (("unet", None), ("vae", "diffusion_pytorch_model"), ("image_encoder", "model")):
        if name:
            file = folder / part / f"{name}.safetensors"
            half = {k: v.to(dtype) if v.is_floating_point() else v for k, v in load_file(file).items()}
            save_file(half, folder / part / f"{name}.{variant}.safetensors", {"format": "pt"})
            file.unlink()
    shutil.rmtree(folder / "unet")
    twin.to(dtype).save_pretrained(folder / "unet", max_shard_size="400KB", variant=variant)
    assert all(f".{variant}-0000" in f.name for f in (folder / "unet").glob("*.safetensors"))
    loaded = states(load(folder))
    assert torch.equal(loaded["d.unet.conv_in.weight"], states(tiny)["d.unet.conv_in.weight"].to(dtype).float())
    key = "c.vae.decoder.conv_in.weight"
    assert torch.equal(loaded[key], states(tiny)[key].to(dtype).float())


def poison(folder: Path) -> None:
    state = load_file(folder / UNET)
    state["conv_in.bias"][0] = float("nan")
    save_file(state, folder / UNET, {"format": "pt"})


def pickle_only(folder: Path) -> None:
    (folder / UNET).unlink()
    (folder / "unet" / "diffusion_pytorch_model.bin").write_bytes(b"\x80\x04.")


def cut_short(folder: Path) -> None:
    data = (folder / UNET).read_bytes()
    (folder / UNET).write_bytes(data[: len(data) // 2])


def drop_key(folder: Path) -> None:
    state = load_file(folder / UNET)
    del state["conv_in.bias"]
    save_file(state, folder / UNET, {"format": "pt"})


def set_field(folder: Path, name: str, value: object) -> None:
    path = folder / "unet" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {name: value}))


def other_shape(folder: Path) -> None:
    set_field(folder, "block_out_channels", [64, 64])


BROKEN: list[tuple[Callable[[Path], object], str]] = [
    (lambda f: shutil.rmtree(f / "vae"), "vae is missing"),
    (lambda f: (f / "model_index.json").unlink(), "model_index.json is missing"),
    (lambda f: (f / "model_index.json").write_text("{"), "damaged"),
    (lambda f: (f / "model_index.json").write_text('{"_class_name": "FluxPipeline"}'), "FluxPipeline"),
    (lambda f: (f / "unet" / "config.json").unlink(), "unet/config.json is missing or not JSON"),
    (lambda f: set_field(f, "in_channels", "many"), "cannot be opened (in_channels: "),
    (lambda f: set_field(f, "block_out_channels", [33, 64]), "cannot be opened (num_channels"),
    (lambda f: (f / "unet" / "sfv.json").write_text('{"frames": 0}'), "sfv.json is not valid"),
    (lambda f: (f / "scheduler" / "scheduler_config.json").write_text("{}"), "is not SVD's"),
    (poison, "not finite"),
    (pickle_only, "a pickle"),
    (cut_short, "not a whole safetensors file"),
    (lfs_pointer, "is a Git LFS pointer, not the weights; fetch them with git lfs pull"),
    (drop_key, "conv_in.bias"),
    (other_shape, "unet"),
]


@pytest.mark.parametrize(("damage", "says"), BROKEN, ids=[s for _, s in BROKEN])
def test_broken_folders_say_what_is_wrong(
    tiny_folder: Path, tmp_path: Path, damage: Callable[[Path], object], says: str
) -> None:
    folder = tmp_path / "broken"
    shutil.copytree(tiny_folder, folder)
    damage(folder)
    with pytest.raises(SfvError) as error:
        load(folder)
    assert says in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["no-such-model", "./nowhere/at/all", "owner/not-cached-anywhere"])
def test_unknown_models(name: str) -> None:
    with pytest.raises(SfvError, match="sticker"):
        load(name)


def test_length_and_size_come_from_the_configuration(tiny_folder: Path, tmp_path: Path) -> None:
    """Without our defaults file a folder is SVD's: its frames, and 576x1024 for SVD's sample size."""
    folder = tmp_path / "xt"
    shutil.copytree(tiny_folder, folder)
    (folder / "unet" / "sfv.json").unlink()
    path = folder / "unet" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"num_frames": 25}))
    own = load(folder).defaults
    assert (own.frames, own.height, own.width, own.steps, own.guidance) == (25, 32, 32, 25, 3.0)
    path.write_text(json.dumps(json.loads(path.read_text()) | {"sample_size": 96}))
    own = load(folder).defaults
    assert (own.height, own.width, own.fps, own.motion, own.noise_aug) == (576, 1024, 7, 127, 0.02)


def test_a_model_of_ours_that_does_not_say_how_it_is_asked_warns_once(
    tiny_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """SVD's own folder, which has diffusers' scheduler, says nothing and is as it was."""
    folders = tmp_path / "ours", tmp_path / "theirs"
    for folder in folders:
        shutil.copytree(tiny_folder, folder)
        (folder / "unet" / "sfv.json").unlink()
    path = folders[1] / "scheduler" / "scheduler_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"_diffusers_version": "0.24.0.dev0"}))
    assert all(load(folder).defaults.steps == 25 for folder in (*folders, folders[0]))
    said = capsys.readouterr().err
    assert said.count("sfv.json is missing, so this model is asked") == 1 and f"{folders[0]}" in said


@pytest.mark.parametrize(
    ("part", "field", "value", "said"),
    [
        (
            "unet",
            "num_frames",
            0,
            "unet cannot be opened (num_frames: Input should be greater than 0); fetch or export",
        ),
        ("unet", "block_out_channels", "abc", "unet cannot be opened (block_out_channels: Input should be a valid"),
        ("vae", "block_out_channels", 7, "vae cannot be opened (block_out_channels"),
        ("image_encoder", "hidden_size", "wide", "image_encoder cannot be opened (hidden_size"),
    ],
)
def test_a_configuration_that_is_wrong_is_named_where_it_is_counted(
    tiny_folder: Path, tmp_path: Path, part: str, field: str, value: object, said: str
) -> None:
    shutil.copytree(tiny_folder, folder := tmp_path / "svd")
    path = folder / part / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {field: value}))
    with pytest.raises(SfvError, match=re.escape(said)):
        described(folder)


def test_defaults_that_are_wrong_are_named_where_they_are_counted(tiny_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_folder, folder := tmp_path / "svd")
    (folder / "unet" / "sfv.json").write_text('{"frames": 4}')
    with pytest.raises(SfvError, match=r"sfv\.json is not valid"):
        described(folder)
