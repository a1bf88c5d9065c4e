"""A folder of videos and an SVD-architecture model in, a one-step model out; kills and foreign shards on the way."""

import hashlib
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from diffusers import StableVideoDiffusionPipeline
from safetensors.torch import load_file, save_file
from toys import SETTINGS, video
from trainers import dry_run, train_part

from sfv.data.encode_videos import encode_videos
from sfv.data.shards import ClipShards
from sfv.decoding.decoder import new_decoder
from sfv.errors import SfvError
from sfv.families.base import VideoModel, fingerprint
from sfv.families.load import load
from sfv.families.svd.folder import save
from sfv.families.svd.sizes import TINY, new_model
from sfv.generation.generate import generate
from sfv.training import checkpoint, run_folder
from sfv.training.batches import VideoBatches
from sfv.training.config import DecoderTraining, StudentTraining
from sfv.training.objectives.adversarial import StudentTask
from sfv.training.objectives.decoder import ShardDecoderTask
from sfv.training.seeds import Seeds
from sfv.training.video_parts import codec_mark

WEIGHTS = "diffusion_pytorch_model.safetensors"


@pytest.fixture(scope="module")
def shards(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("distil")
    (folder / "videos").mkdir()
    for seed in range(3):
        video(folder / "videos" / f"{seed}.mp4", seed, 8)
    settings = SETTINGS.model_copy(update={"sizes": ("32x32",)})
    encode_videos([str(folder / "videos")], str(tiny_folder), folder / "shards", settings)
    return folder / "shards"


@pytest.mark.parametrize("part", ["teacher", "student"])
def test_videos_become_a_model_that_diffusers_opens(shards: Path, tiny_folder: Path, tmp_path: Path, part: str) -> None:
    text = train_part(part, shards, tmp_path / "out", "debug", init=tiny_folder)
    assert part in text
    made = load(tmp_path / "out")
    assert made.defaults.frames == 4 and made.defaults.fps == 10
    assert made.defaults.steps == (1 if part == "student" else load(tiny_folder).defaults.steps)
    pipe = StableVideoDiffusionPipeline.from_pretrained(tmp_path / "out")
    assert torch.equal(pipe.unet.conv_in.weight, made.denoiser.unet.conv_in.weight)
    rows = (tmp_path / "out" / "runs" / part / "config.json").read_text()
    assert part in rows


def test_adapters_are_not_added_twice(shards: Path, tiny_folder: Path, tmp_path: Path) -> None:
    """A finished run that began with its own folder is not begun again; one that began elsewhere changes nothing."""
    own, other = tmp_path / "own", tmp_path / "other"
    for folder in (own, other):
        shutil.copytree(tiny_folder, folder)
    for folder, init in ((own, own), (other, tiny_folder)):
        train_part("student", shards, folder, "debug", ("lora=2",), init=init)
    before = (own / "unet" / WEIGHTS).read_bytes(), (other / "unet" / WEIGHTS).read_bytes()
    with pytest.raises(SfvError, match="own holds its run's adapters already; begin with another folder by --init"):
        train_part("student", shards, own, "debug", ("lora=2",), init=own)
    train_part("student", shards, other, "debug", ("lora=2",), init=tiny_folder)
    assert ((own / "unet" / WEIGHTS).read_bytes(), (other / "unet" / WEIGHTS).read_bytes()) == before


def test_a_small_decoder_is_distilled_from_shards(shards: Path, tiny_folder: Path, tmp_path: Path) -> None:
    train_part("decoder", shards, tmp_path / "out", "debug", ("restored=0", "crop=16"), init=tiny_folder)
    made = load(tmp_path / "out")
    assert made.small is not None and made.small.guide is not None
    picture = torch.randint(0, 256, (32, 32, 3), dtype=torch.uint8)
    quick, slow = (generate(made, picture, steps=1, guidance=1, decoder=d) for d in ("small", "full"))
    assert quick.frames.shape == slow.frames.shape and torch.equal(quick.latents, slow.latents)
    with pytest.raises(SfvError, match="leave it at 0 for video shards"):
        train_part("decoder", shards, tmp_path / "bad", "debug", init=tiny_folder)


def test_held_out_sources_are_not_learnt_from(shards: Path, tiny_folder: Path) -> None:
    """Each source is on one side, the same one whatever else there is; a side without clips is refused."""
    model = load(tiny_folder)
    batches = VideoBatches(ClipShards(shards, fingerprint(model.codec)), model.codec, model.conditioner)
    names = [e.family for e in batches.shards.entries]
    at = {n: int(hashlib.sha256(n.encode()).hexdigest()[:8], 16) / 2**32 for n in names}
    between = sum(sorted(at.values())[:2]) / 2  # exactly one source is held out
    learnt, held = ({names[i] for g in side.groups for i in g} for side in batches.divided(between))
    assert held == {min(at, key=at.__getitem__)} and learnt == set(names) - held and len(learnt) == 2
    assert batches.divided(0.0) == (batches, batches)
    with pytest.raises(SfvError, match="held_out=1e-06 leaves one side without clips"):
        batches.divided(1e-6)


def test_samples_are_of_held_out_sources(shards: Path, tiny_folder: Path) -> None:
    model = load(tiny_folder)
    batches = VideoBatches(ClipShards(shards, fingerprint(model.codec)), model.codec, model.conditioner)
    values = sorted({int(hashlib.sha256(e.family.encode()).hexdigest()[:8], 16) for e in batches.shards.entries})
    how = {"held_out": (values[0] + values[1]) / 2**33, "sample_every": 1, "samples": 3, "head_width": 32}
    config = StudentTraining(steps=1, clips=1, precision="fp32", **how)
    task = StudentTask(model.denoiser, batches, config, model.noise_range)
    assert task.samples is not None
    learnt, shown = task.batches.groups, task.samples.batches.groups  # type: ignore[attr-defined]
    assert learnt and shown and not {i for g in learnt for i in g} & {i for g in shown for i in g}


def test_shards_teach_what_the_codec_draws(shards: Path, tiny_folder: Path) -> None:
    model = load(tiny_folder)
    batches = VideoBatches(ClipShards(shards, fingerprint(model.codec)), model.codec, model.conditioner)
    config = DecoderTraining(steps=30, clips=2, frames=3, crop=16, warmup=0, guided=False, edges=0.2)
    task = ShardDecoderTask(new_decoder(4, 2, 0), model, batches, config)
    latents, clips = task.given(Seeds(0, 0))
    assert latents.shape == (2, 3, 4, 8, 8) and clips.shape == (2, 3, 3, 16, 16)
    torch.testing.assert_close(clips, model.codec.decode(latents).float().clamp(-1, 1))
    losses = [task.step(0, Seeds(0, 0))["loss"] for _ in range(30)]
    assert losses[-1] < 0.6 * losses[0]


def test_shards_of_a_gpu_are_known_again(shards: Path, tiny_folder: Path, tmp_path: Path) -> None:
    """A GPU encodes with weights in float16, training opens them in float32: the same codec."""
    own, half = load(tiny_folder).codec, load(tiny_folder, dtype=torch.float16).codec
    shutil.copytree(shards, tmp_path / "gpu")
    index = tmp_path / "gpu" / "index.json"
    index.write_text(json.dumps(json.loads(index.read_text()) | {"codec": fingerprint(half)}))
    assert codec_mark(shards, own) == fingerprint(own) != fingerprint(half) == codec_mark(tmp_path / "gpu", own)
    with torch.no_grad():
        half.vae.quant_conv.bias += 1  # type: ignore[attr-defined]
    assert codec_mark(tmp_path / "gpu", half) != fingerprint(load(tiny_folder, dtype=torch.float16).codec)


def test_bad_requests_say_so(shards: Path, tiny_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(SfvError, match="--init"):
        train_part("student", shards, tmp_path / "a", "debug")
    with pytest.raises(SfvError, match="not trained on video shards"):
        train_part("codec", shards, tmp_path / "b", "debug", init=tiny_folder)
    with pytest.raises(SfvError, match="preset 'svd-24gb' trains student, decoder, not teacher"):
        train_part("teacher", shards, tmp_path / "c", "svd-24gb", init=tiny_folder)
    other = new_model(TINY, 5)
    with torch.no_grad():
        other.codec.vae.quant_conv.bias += 1  # type: ignore[attr-defined]
    save(other, tmp_path / "other")
    with pytest.raises(SfvError, match="another codec"):
        train_part("student", shards, tmp_path / "d", "debug", init=tmp_path / "other")


STEP = ("steps=1", "head_width=16", "head_start=0", "lr=0.01", "warmup=0")


def test_a_run_goes_on_with_its_own_teacher_and_data_alone(shards: Path, tiny_folder: Path, tmp_path: Path) -> None:
    """Of one stage and of several; the same command again is taken, with the model's own folder too."""
    other = load(tiny_folder)
    with torch.no_grad():
        for weight in other.denoiser.parameters():
            weight += 0.01
    save(other, tmp_path / "other")
    more = tmp_path / "more"
    shutil.copytree(shards, more)
    index = json.loads((more / "index.json").read_text())
    (more / "index.json").write_text(json.dumps(index | {"clips": index["clips"][1:]}))

    def go(data: Path, init: Path, part: str = "student", set_: tuple[str, ...] = STEP) -> None:
        train_part(part, data, tmp_path / "out", "debug", set_, init=init)

    go(shards, tiny_folder)
    go(shards, tiny_folder)
    with pytest.raises(SfvError, match="--init was .* and .*other holds other weights"):
        go(shards, tmp_path / "other")
    with pytest.raises(SfvError, match="--init was .* and .*out holds other weights"):
        go(shards, tmp_path / "out")
    with pytest.raises(SfvError, match="the data were .* and .*more holds other clips"):
        go(more, tiny_folder)
    go(shards, tmp_path / "out", "teacher", ("0.steps=1", "steps=1"))
    go(shards, tmp_path / "out", "teacher", ("0.steps=1", "steps=1"))


def test_a_start_that_was_cut_off_goes_on(
    shards: Path, tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed, or out of room, while the model is first written; what others wrote stays theirs."""
    out, words = tmp_path / "out", STEP

    def cut(model: VideoModel, folder: Path) -> None:
        (folder / "unet").mkdir()
        (folder / "unet" / "config.json").write_text("{}")
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(run_folder, "save", cut)
        with pytest.raises(SfvError, match="out cannot be written .*No space left.*; free some space and repeat"):
            train_part("student", shards, out, "debug", words, init=tiny_folder)
    assert (out / "unet" / "config.json").exists() and not (out / "model_index.json").exists()
    assert "student" in train_part("student", shards, out, "debug", words, init=tiny_folder)
    assert load(out).defaults.steps == 1
    (tmp_path / "theirs" / "unet").mkdir(parents=True)
    (tmp_path / "theirs" / "unet" / "config.json").write_text("{}")
    with pytest.raises(SfvError, match="theirs is there and was not written by sfv"):
        train_part("student", shards, tmp_path / "theirs", "debug", words, init=tiny_folder)


@pytest.mark.parametrize("which", ["latents", "embeds"])
def test_numbers_that_are_not_finite_are_blamed_on_their_shard(
    shards: Path, tiny_folder: Path, tmp_path: Path, which: str
) -> None:
    shutil.copytree(shards, tmp_path / "bad")
    for path in (tmp_path / "bad").glob("*.safetensors"):
        tensors = load_file(path)
        tensors[which][:, 0] = torch.nan
        save_file(tensors, path)
    says = r"bad/shard-.*.safetensors: .*mp4@.* holds numbers that are not finite; delete the shard and its job's note"
    with pytest.raises(SfvError, match=says):
        train_part("student", tmp_path / "bad", tmp_path / "out", "debug", STEP, init=tiny_folder)


def test_data_that_are_not_there_name_both_that_make_them(tmp_path: Path) -> None:
    with pytest.raises(SfvError, match="nowhere does not exist; make video shards with `sfv encode`.* `sfv pack`"):
        train_part("student", tmp_path / "nowhere", tmp_path / "out", "svd-24gb")
    assert not (tmp_path / "out").exists()


SAVING = """
import os, sys, torch
from pathlib import Path
from sfv.training import checkpoint, run_folder
for _ in sys.stdin:
    if child := os.fork():
        os.waitpid(child, 0)
        continue
    net = torch.nn.Linear(2000, 2000)
    for step in range(1, 100000):
        torch.nn.init.constant_(net.weight, float(step))
        checkpoint.save(Path(sys.argv[1]), step, {"net": net})
        print(os.getpid(), flush=True)
"""
"""Every line of input starts a process that saves until it is killed."""


def test_a_kill_in_mid_save_leaves_a_whole_checkpoint(tmp_path: Path) -> None:
    """kill -9 at a random moment of back-to-back saves, three times: what lies there is whole and consistent."""
    command = [sys.executable, "-c", SAVING, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1) as parent:
        assert parent.stdin and parent.stdout
        killed = 0
        for wait in (0.05, 0.11, 0.17):
            parent.stdin.write("next\n")
            while (child := int(parent.stdout.readline())) == killed:  # what the one before still said
                pass
            time.sleep(wait)
            os.kill(child, signal.SIGKILL)
            killed = child
            while Path(f"/proc/{child}").exists():
                time.sleep(0.01)
            net = torch.nn.Linear(2000, 2000)
            step = checkpoint.load_latest(tmp_path, {"net": net})
            assert step >= 1 and torch.equal(net.weight, torch.full_like(net.weight, float(step)))
        parent.stdin.close()
        assert parent.wait(60) == 0


def test_a_full_disk_is_one_sentence_and_nothing_is_lost(tmp_path: Path) -> None:
    """A limit on file sizes stands for the full disk: the second save fails, the first stays whole."""
    net = torch.nn.Linear(500, 500)
    checkpoint.save(tmp_path, 1, {"net": net})
    before, limits = net.weight.detach().clone(), resource.getrlimit(resource.RLIMIT_FSIZE)
    torch.nn.init.zeros_(net.weight)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(SfvError, match="cannot be written .* free some space"):
            checkpoint.save(tmp_path, 2, {"net": net})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert checkpoint.load_latest(tmp_path, {"net": net}) == 1
    assert torch.equal(net.weight, before) and [p.name for p in tmp_path.iterdir()] == ["state.safetensors"]


def test_dry_run_prints_every_stage() -> None:
    plan = dry_run("student", "svd-24gb")
    assert plan["stages"][0]["lora"] == 64
