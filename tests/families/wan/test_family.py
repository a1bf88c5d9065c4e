"""The whole way of a Wan model through what knows no family: videos, shards, students, clips."""

import json
import math
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import tiny_wan
import torch
from PIL import Image
from serving import made_here
from torch.utils._python_dispatch import TorchDispatchMode
from toys import SETTINGS, picture, video
from trainers import train_part

from sfv.bench.run import bench
from sfv.cli.main import main
from sfv.data.encode_videos import encode_videos
from sfv.data.shards import ClipShards
from sfv.edm.noise import seeded_noise
from sfv.errors import SfvError
from sfv.families.base import VideoModel
from sfv.families.load import load, load_stock
from sfv.families.wan.networks import WanDenoiser
from sfv.generation.generate import generate
from sfv.media import read_clip, write_picture
from sfv.serve.settings import ServeSettings
from sfv.settings import Settings
from sfv.training.batches import VideoBatches
from sfv.training.config import StudentTraining
from sfv.training.objectives.adversarial import StudentTask
from sfv.training.presets import PRESETS
from sfv.training.seeds import Seeds
from sfv.training.video_parts import _opened

PLAN = SETTINGS.model_copy(update={"frames": 5, "sizes": ("64x64",)})


@pytest.fixture(scope="module")
def shards(wan_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wan-shards")
    (folder / "videos").mkdir()
    for seed in range(3):
        video(folder / "videos" / f"{seed}.mp4", seed, 11, (64, 64))
    encode_videos([str(folder / "videos")], str(wan_folder), folder / "shards", PLAN, "cpu")
    return folder / "shards"


def test_shards_hold_what_a_condition_is_made_of(wan: VideoModel, shards: Path) -> None:
    """Latents of five frames are two; the words are the empty prompt's, and the first latents are the clip's own."""
    batches = VideoBatches(ClipShards(shards), wan.codec, wan.conditioner)
    x0, cond = batches.draw(Seeds(0, 0).clips(2))
    assert x0.shape == (2, 2, 8, 4, 4) and batches.shards.frames == 5
    assert torch.equal(cond["first"], x0[:, :1])
    empty = wan.conditioner(torch.zeros(1, 3, 64, 64))["text"]
    torch.testing.assert_close(cond["text"], empty.expand(2, -1, -1), atol=2e-3, rtol=2e-3)


ADVERSARIAL = ("clips=1", "lora=2", "head_start=2", "warmup=0", "log_every=1", "recompute=true", "lr=1e-3")


@pytest.mark.parametrize("steps", [4, pytest.param(50, marks=pytest.mark.long)])
def test_a_run_that_was_stopped_ends_as_it_would_have(
    shards: Path, wan_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, steps: int
) -> None:
    plan = (f"steps={steps}", *ADVERSARIAL)
    train_part("student", shards, tmp_path / "one", "debug", plan, init=wan_folder)
    lines = [json.loads(v) for v in (tmp_path / "one/runs/student/log.jsonl").read_text().splitlines()]
    figures = [v for line in lines for v in line.values() if isinstance(v, float)]
    assert len(lines) >= steps and all(math.isfinite(v) for v in figures)
    encode, calls = WanDenoiser.encode, iter(range(1000))

    def interrupted(*given: Any) -> Any:
        if next(calls) == steps:
            signal.raise_signal(signal.SIGTERM)
        return encode(*given)

    monkeypatch.setattr(WanDenoiser, "encode", interrupted)
    with pytest.raises(SfvError, match=f"stopped at step .* of {steps}"):
        train_part("student", shards, tmp_path / "two", "debug", plan, init=wan_folder)
    train_part("student", shards, tmp_path / "two", "debug", plan, init=wan_folder)
    one, two, before = (load(f).denoiser.state_dict() for f in (tmp_path / "one", tmp_path / "two", wan_folder))
    assert all(torch.equal(two[k], v) for k, v in one.items())
    assert {k for k, v in one.items() if not torch.equal(before[k], v)} == {
        k for k in one if ".blocks." in k and k.endswith(".weight") and ("attn" in k or "ffn" in k) and "norm" not in k
    }
    assert load(tmp_path / "one").defaults.steps == 1


def test_heads_learn_and_the_backbone_does_not(wan_folder: Path, shards: Path) -> None:
    model = load(wan_folder)
    batches = VideoBatches(ClipShards(shards), model.codec, model.conditioner)
    config = StudentTraining(steps=1, clips=1, head_start=0, head_width=16, precision="fp32", differences=True)
    task = StudentTask(model.denoiser, batches, config, model.noise_range)
    seen = task._seen(Seeds(0, 0).clips(1), "both")
    task._heads(seen)
    task._generator(seen, ahead=False)
    assert len(task.D.heads) == 2 * (3 + 1)
    weights = {n: p for n, p in task.D.heads.named_parameters() if p.dim() > 1}
    assert not [n for n, p in weights.items() if p.grad is None or not p.grad.any()]
    assert all(p.grad is None for p in task.D.backbone.parameters())
    assert not [n for n, p in task.G.named_parameters() if p.grad is None or not p.grad.any()]


class Sent(TorchDispatchMode):
    """Copies from the CPU to the meta device, which stands for a card: bytes by precision."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes: dict[torch.dtype, int] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        if func is torch.ops.aten._to_copy.default and made.is_meta and not args[0].is_meta:
            self.bytes[made.dtype] = self.bytes.get(made.dtype, 0) + made.nbytes
        return made


def size(*modules: torch.nn.Module) -> int:
    """Bytes of weights and tables."""
    return sum(t.nbytes for m in modules for t in (*m.parameters(), *m.buffers()))


def test_a_card_is_sent_the_network_in_halves(wan_folder: Path, shards: Path) -> None:
    """It is opened and halved on the CPU; of float32 the card gets the codec and what learns, and nothing for a
    moment."""
    changes = {"lora": 2, "head_width": 16, "sample_every": 0}
    config = PRESETS["wan-5b-24gb"]["student"][-1].model_copy(update=changes)
    assert isinstance(config, StudentTraining)
    with Sent() as sent:
        model = _opened(str(wan_folder), torch.device("meta"))
        batches = VideoBatches(ClipShards(shards), model.codec, model.conditioner)
        task = StudentTask(model.denoiser, batches, config, model.noise_range)
    learns = sum(p.nbytes for p in task.G.parameters() if p.requires_grad)
    assert task.G is model.denoiser and next(task.G.parameters()).is_meta
    assert sent.bytes == {
        torch.float32: size(model.codec, task.D.heads) + learns,
        torch.bfloat16: size(task.G) - learns,
    }


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    write_picture(picture(70, 90), tmp_path / "photo.png")
    return tmp_path / "photo.png"


def test_a_picture_and_words_become_a_clip_that_can_be_made_again(
    wan_folder: Path, photo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["--model", str(wan_folder), "--prompt", "a cat jumps", "--format", "webp", "--device", "cpu"]
    asked += ["--profile", "exact", "--backend", "eager"]
    assert main(["generate", str(photo), *asked, "--steps", "2", "--guidance", "4", "--json"]) == 0
    made = json.loads(capsys.readouterr().out)
    assert made["calls"] == 4 and len(read_clip(Path(made["out"]))) == 5
    assert main(["replay", made["out"], "--device", "cpu"]) == 0
    again = Path(made["out"]).with_name("photo-replay.webp")
    assert torch.equal(read_clip(again), read_clip(Path(made["out"])))
    assert (
        main(["generate", str(photo), *asked[:2], *asked[4:], "--steps", "2", "-o", str(photo.parent / "o.webp")]) == 0
    )
    assert not torch.equal(read_clip(photo.parent / "o.webp"), read_clip(again)), "words change the clip"


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (("--frames", "6"), "frames 6: .* try 5 or 9"),
        (("--height", "64", "--width", "80"), "multiples of 32"),
        (("--motion", "200"), "motion 200: .* not told how much moves"),
        (("--noise-aug", "0.1"), "picture is never noised"),
        (("--backend", "compile"), "runs in eager mode alone"),
    ],
)
def test_what_cannot_be_asked(
    wan_folder: Path, photo: Path, capsys: pytest.CaptureFixture[str], flags: tuple[str, ...], says: str
) -> None:
    assert main(["generate", str(photo), "--model", str(wan_folder), "--device", "cpu", *flags]) == 1
    assert re.search(says, capsys.readouterr().err)


def test_a_prompt_is_refused_by_models_that_read_none(
    tiny_folder: Path, photo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for model in (str(tiny_folder), "sticker"):
        assert main(["generate", str(photo), "--model", model, "--prompt", "jump", "--device", "cpu"]) == 1
        assert "reads no words; leave it out" in capsys.readouterr().err


def test_one_call_starts_where_students_are_trained(wan: VideoModel) -> None:
    assert wan.sigmas(1).tolist() == [wan.sigma_max, 0] and float(wan.sigmas(2)[0]) == 1e6


@pytest.mark.parametrize(
    ("preset", "plan"),
    [
        ("debug", ("steps=2", "clips=1", "head_start=1")),
        ("sfv-plus-cpu", ("steps=2", "clips=1", "head_start=1", "lora=2")),
        ("consistency-cpu", ("steps=2", "clips=1", "levels=4")),
        ("drifting-cpu", ("steps=2", "clips=1")),
    ],
)
def test_every_recipe_of_students(shards: Path, wan_folder: Path, tmp_path: Path, preset: str, plan: Any) -> None:
    train_part("student", shards, tmp_path / "made", preset, plan, init=wan_folder)
    made, before = (load(f).denoiser.state_dict() for f in (tmp_path / "made", wan_folder))
    assert any(not torch.equal(before[k], v) for k, v in made.items())
    assert all(bool(v.isfinite().all()) for v in made.values())


def test_a_teacher_is_tuned(shards: Path, wan_folder: Path, tmp_path: Path) -> None:
    train_part("teacher", shards, tmp_path / "made", "debug", ("steps=2", "clips=1"), init=wan_folder)
    model = load(tmp_path / "made")
    assert not torch.equal(model.denoiser.state_dict()["transformer.proj_out.bias"], torch.zeros(32))
    assert (model.defaults.frames, model.defaults.steps) == (5, 25)


def test_diffusers_own_pipeline_stands_beside_it(wan_folder: Path) -> None:
    stock, ours = load_stock(wan_folder)
    frames, calls, seconds = stock.animate(picture(64, 64), ours.defaults.model_copy(update={"steps": 2}), 0)
    assert frames.shape == (5, 64, 64, 3) and calls == 2 and min(seconds["unet"], seconds["decode"]) > 0


def test_it_is_served_with_a_prompt(wan_folder: Path, tmp_path: Path) -> None:
    settings = ServeSettings(model=str(wan_folder), data=tmp_path / "data", profile="exact", backend="eager")
    made, content = made_here(settings, {"seed": "1", "steps": "1", "prompt": "a cat jumps"})
    (tmp_path / "clip.mp4").write_bytes(content)
    assert (made["settings"]["prompt"], made["note"]) == ("a cat jumps", None)
    assert len(read_clip(tmp_path / "clip.mp4")) == 5


def test_it_is_timed_beside_diffusers_own_pipeline(wan_folder: Path, photo: Path, tmp_path: Path) -> None:
    """As many calls; there is no picture encoder to be timed."""
    rows = (f"{wan_folder}@exact/eager:2", f"diffusers={wan_folder}:2")
    bench(photo, rows, Settings(guidance=4), 1, tmp_path / "bench.json", "cpu")
    ours, theirs = json.loads((tmp_path / "bench.json").read_text())["models"]
    assert ours["calls"] == theirs["calls"] == 4 and ours["hash"] == theirs["hash"]
    assert 0.5 < ours["flops"] / theirs["flops"] < 2
    assert all(ours["median"][k] > 0 for k in ("encode", "unet", "decode", "total"))


def called(model: VideoModel) -> list[int]:
    """From now on: clips in each call of the network."""
    seen: list[int] = []
    model.denoiser.transformer.register_forward_hook(  # type: ignore[union-attr,operator]
        lambda network, given, made: seen.append(len(given[0]))
    )
    return seen


def test_a_trained_student_makes_a_clip_in_one_call(shards: Path, wan_folder: Path, tmp_path: Path) -> None:
    """Nothing is asked for: the folder says that it is called once, where it was trained."""
    train_part("student", shards, tmp_path / "one", "debug", ("steps=2", *ADVERSARIAL, "head_start=0"), init=wan_folder)
    model = load(tmp_path / "one")
    calls = called(model)
    clip = generate(model, picture(64, 64), seed=3)
    assert calls == [1] and clip.calls == 1 and clip.frames.shape == (5, 64, 64, 3)
    before = generate(load(wan_folder), picture(64, 64), seed=3, steps=1, guidance=1)
    assert not torch.equal(clip.latents[:, 1:], before.latents[:, 1:])
    torch.testing.assert_close(clip.latents[:, :1], before.latents[:, :1], atol=1e-3, rtol=1e-3)


def test_twenty_five_guided_steps_are_fifty_calls_and_the_pipelines_clip(wan_folder: Path) -> None:
    """By `sfv.generate`, words and all; both halves of a guided step are one batch of two."""
    model, still, words = load(wan_folder), picture(64, 64), "a cat jumps"
    calls = called(model)
    clip = generate(model, still, seed=3, steps=25, guidance=4, prompt=words)
    assert calls == [2] * 25 and clip.calls == 50
    noise = seeded_noise([3], model.codec.latent_shape(5, 64, 64), torch.device("cpu"))
    size = {"height": 64, "width": 64, "num_frames": 5, "num_inference_steps": 25, "guidance_scale": 4.0}
    start = {"latents": noise.transpose(1, 2).contiguous(), "output_type": "latent"}
    want = tiny_wan.stock(wan_folder)(Image.fromarray(still.numpy()), words, **size, **start).frames.transpose(1, 2)
    assert (clip.latents - want).norm() / want.norm() <= 1e-4


@pytest.mark.long
def test_two_processes_share_its_blocks(shards: Path, wan_folder: Path, tmp_path: Path) -> None:
    """FSDP: each block's weights are halved over the ranks; the student is whole again, and moved."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    command = [sys.executable, "-m", "sfv", "train", "student", str(shards), str(tmp_path / "two"), "--device", "cpu"]
    command += ["--preset", "debug", "--init", str(wan_folder), "--parallel", "fsdp", "--set", "steps=2"]
    command += ["clips=1", "head_start=0", "warmup=0", "lr=1e-3"]
    everywhere = os.environ | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": "2"}
    own = [everywhere | {"RANK": str(r), "LOCAL_RANK": str(r)} for r in range(2)]
    running = [subprocess.Popen(command, env=e, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) for e in own]
    try:
        said = [p.communicate(timeout=900)[0].decode() for p in running]
    finally:
        for p in running:
            p.kill()
    assert [p.returncode for p in running] == [0, 0], said
    two, before = (load(f).denoiser.state_dict() for f in (tmp_path / "two", wan_folder))
    assert all(bool(v.isfinite().all()) for v in two.values())
    assert any(not torch.equal(before[k], v) for k, v in two.items())
