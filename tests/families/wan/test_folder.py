"""Wan folders: written and read bit for bit, opened by diffusers' own pipeline; bad ones in one sentence."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import tiny_wan
import torch
from diffusers import WanTransformer3DModel
from PIL import Image
from safetensors.torch import load_file, save_file

from sfv.errors import SfvError
from sfv.families.base import VideoModel
from sfv.families.load import export, keep_models, load, save, weights_hash
from sfv.families.svd.folder import hash_of
from sfv.families.svd.network import weight_files
from sfv.families.svd.stock_networks import quiet
from sfv.families.wan.network import WHOLE, opened

WEIGHTS = "transformer/diffusion_pytorch_model.safetensors"


@pytest.fixture(scope="module")
def saved(wan: VideoModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("saved") / "wan"
    save(wan, folder)
    return folder


def same(a: VideoModel, b: VideoModel) -> bool:
    one, other = ({**m.denoiser.state_dict(), **m.codec.state_dict()} for m in (a, b))
    return one.keys() == other.keys() and all(torch.equal(other[k], v) for k, v in one.items())


def test_what_is_saved_is_what_was_loaded(wan: VideoModel, wan_folder: Path, saved: Path) -> None:
    again = load(saved)
    assert same(again, wan) and again.defaults == wan.defaults and again.flow_shift == wan.flow_shift == 5
    assert weights_hash(saved) == again.hash == wan.hash
    parts = [saved / part for part in ("transformer", "vae", "text_encoder") if (saved / part).is_dir()]
    assert wan.hash == hash_of([f for part in parts for f in weight_files(part)]), "a usual shift leaves it as it was"
    for part in ("transformer", "vae"):
        theirs, ours = (load_file(f / part / "diffusion_pytorch_model.safetensors") for f in (wan_folder, saved))
        assert theirs.keys() == ours.keys() and all(torch.equal(ours[k], v) for k, v in theirs.items())
    keep_models(saved, "it is one of ours")


def test_the_text_encoder_is_linked(wan_folder: Path, saved: Path) -> None:
    file = "text_encoder/model.safetensors"
    assert (saved / file).samefile(wan_folder / file)


def test_the_saved_folder_runs_in_the_pipeline(saved: Path) -> None:
    made = tiny_wan.stock(saved)(
        Image.new("RGB", (64, 64)), "a cat", height=64, width=64, num_frames=5, num_inference_steps=2, output_type="pt"
    )
    assert made.frames.shape == (1, 5, 3, 64, 64) and bool(made.frames.isfinite().all())


def test_it_runs_there_without_a_text_encoder(wan: VideoModel, saved: Path, tmp_path: Path) -> None:
    """With embeddings in place of words; and here, as prompts.safetensors holds the empty one."""
    wan.conditioner.prompts("a dog")  # type: ignore[operator,union-attr]
    shutil.copytree(saved, tmp_path / "wan")
    for part in ("text_encoder", "tokenizer"):
        shutil.rmtree(tmp_path / "wan" / part)
    save(load(tmp_path / "wan"), tmp_path / "without")
    pipe = tiny_wan.stock(tmp_path / "without", text_encoder=None, tokenizer=None)
    given = {"prompt_embeds": torch.zeros(1, 512, 32), "guidance_scale": 1.0, "output_type": "pt"}
    size = {"height": 64, "width": 64, "num_frames": 5, "num_inference_steps": 1}
    assert pipe(Image.new("RGB", (64, 64)), **size, **given).frames.shape == (1, 5, 3, 64, 64)
    model = load(tmp_path / "without")
    assert torch.equal(model.conditioner.embed(torch.zeros(1, 3, 8, 8)), wan.conditioner.embed(torch.zeros(1, 3, 8, 8)))
    with pytest.raises(SfvError, match="prompt 'a bird': .* has no text_encoder .* leave the prompt out"):
        model.conditioner(torch.zeros(1, 3, 64, 64), prompt="a bird")


def test_shards_and_variants(wan: VideoModel, wan_folder: Path, tmp_path: Path) -> None:
    """Of several files, as the 5B model comes; where there are no plain ones, those of half precision."""
    folder = tmp_path / "wan"
    shutil.copytree(wan_folder, folder)
    state = load_file(folder / WEIGHTS)
    (folder / WEIGHTS).unlink()
    names = sorted(state)
    for i, some in enumerate((names[::2], names[1::2]), 1):
        save_file({k: state[k] for k in some}, folder / "transformer" / f"model-0000{i}-of-00002.safetensors")
    assert same(load(folder), wan)
    for file in (folder / "transformer").glob("*.safetensors"):
        file.unlink()
    save_file({k: v.half() for k, v in state.items()}, folder / WEIGHTS.replace(".safe", ".fp16.safe"))
    halved = load(folder).denoiser.state_dict()
    assert torch.equal(halved["transformer.proj_out.weight"], state["proj_out.weight"].half().float())


@pytest.mark.parametrize(("variant", "dtype"), [("bf16", torch.bfloat16), ("fp16", torch.float16)])
def test_a_whole_folder_of_a_variant(variant: str, dtype: torch.dtype, tmp_path: Path) -> None:
    """As diffusers writes it, of several files, the text encoder's among them; weights and words are the variant's."""
    pipe = tiny_wan.pipeline().to(dtype)
    with quiet():
        pipe.save_pretrained(tmp_path, variant=variant, max_shard_size="40KB")
    files = [f.name for f in tmp_path.glob("*/*.safetensors")]
    assert len(files) > 6 and all(f".{variant}" in f for f in files)
    assert any("-of-" in f.name for f in (tmp_path / "transformer").iterdir())
    model = load(tmp_path)
    ours, codec = (n.state_dict() for n in (model.denoiser.transformer, model.codec.vae))  # type: ignore[union-attr]
    assert all(torch.equal(ours[k], v.float()) for k, v in pipe.transformer.state_dict().items())
    assert all(torch.equal(codec[k], v.float()) for k, v in pipe.vae.state_dict().items())
    words = model.conditioner(torch.zeros(1, 3, 64, 64), prompt=f"a cat of {variant}")["text"]
    assert words.shape == (1, 512, 32) and bool(words[:, 0].any())


def test_halved_weights_are_those_of_diffusers(wan_folder: Path) -> None:
    """Norms and the time embedding stay in float32."""
    assert {*WHOLE, "rope"} == set(WanTransformer3DModel._keep_in_fp32_modules)
    ours = opened(WanTransformer3DModel, wan_folder / "transformer", torch.bfloat16).state_dict()
    theirs = WanTransformer3DModel.from_pretrained(wan_folder / "transformer", torch_dtype=torch.bfloat16).state_dict()
    assert {k: v.dtype for k, v in ours.items()} == {k: v.dtype for k, v in theirs.items()}
    assert all(torch.equal(ours[k], v) for k, v in theirs.items())
    assert load(wan_folder, dtype=torch.bfloat16).denoiser.dtype == torch.bfloat16


def test_export_with_a_teacher(wan: VideoModel, wan_folder: Path, saved: Path, tmp_path: Path) -> None:
    shutil.copytree(saved, tmp_path / "wan")
    shutil.copytree(tmp_path / "wan" / "transformer", tmp_path / "wan" / "teacher")
    (tmp_path / "wan" / "runs").mkdir()
    export(tmp_path / "wan", tmp_path / "out", torch.float16)
    assert load_file(tmp_path / "out" / WEIGHTS)["proj_out.weight"].dtype == torch.float16
    assert (tmp_path / "out" / "teacher" / "sfv.json").is_file() and not (tmp_path / "out" / "runs").exists()
    with pytest.raises(SfvError, match="was not written by sfv"):
        keep_models(tmp_path / "wan" / "vae", "name a new folder")


def changed(file: str, **fields: object) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        path = folder / file
        path.write_text(json.dumps(json.loads(path.read_text()) | fields))

    return change


def without(part: str) -> Callable[[Path], None]:
    return lambda folder: shutil.rmtree(folder / part)


def of_other_weights(folder: Path) -> None:
    state = load_file(folder / WEIGHTS)
    save_file({k: v for k, v in state.items() if k != "proj_out.bias"}, folder / WEIGHTS)


def not_finite(folder: Path) -> None:
    state = load_file(folder / WEIGHTS)
    save_file(state | {"proj_out.bias": state["proj_out.bias"] * float("nan")}, folder / WEIGHTS)


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda f: shutil.copytree(f / "transformer", f / "transformer_2"), "high-noise one is the one to distil"),
        (changed("model_index.json", boundary_ratio=0.9), "high-noise one is the one to distil"),
        (changed("model_index.json", expand_timesteps=False), "without expand_timesteps"),
        (changed("scheduler/scheduler_config.json", shift=None), "not a flow scheduler"),
        (changed("transformer/config.json", num_layers=5), "does not hold the weights .*blocks.4"),
        (changed("transformer/config.json", ffn_dim="wide"), "transformer cannot be opened"),
        (changed("transformer/config.json", _class_name="Flux"), "holds a Flux, not a WanTransformer3DModel"),
        (without("transformer"), "transformer is missing"),
        (without("vae"), "vae is missing"),
        (of_other_weights, "first: proj_out.bias"),
        (not_finite, "not finite numbers .proj_out.bias"),
    ],
)
def test_bad_folders_say_what_is_wrong(
    wan_folder: Path, tmp_path: Path, spoil: Callable[[Path], None], says: str
) -> None:
    shutil.copytree(wan_folder, tmp_path / "wan")
    spoil(tmp_path / "wan")
    with pytest.raises(SfvError, match=says):
        load(tmp_path / "wan")


def test_the_text_to_video_name_of_the_same_model_is_known(wan: VideoModel, wan_folder: Path, tmp_path: Path) -> None:
    """Wan-AI's own TI2V folder says WanPipeline, with UniPC under flow_shift."""
    shutil.copytree(wan_folder, tmp_path / "wan")
    changed("model_index.json", _class_name="WanPipeline")(tmp_path / "wan")
    scheduler = {"_class_name": "UniPCMultistepScheduler", "flow_shift": 3.0, "prediction_type": "flow_prediction"}
    (tmp_path / "wan" / "scheduler" / "scheduler_config.json").write_text(json.dumps(scheduler))
    model = load(tmp_path / "wan")
    assert model.family == "wan" and model.flow_shift == 3 and model.hash != wan.hash
