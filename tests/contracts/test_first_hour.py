"""The scripts of docs/first-hour.md over a random folder in SVD's layout: bash runs them, every command runs here.

A stand-in for `sfv`, `python -m sfv` and `torchrun` notes what it is asked, so that no process pays for imports.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from diffusers import StableVideoDiffusionPipeline
from PIL import Image
from safetensors.torch import load_file, save_file
from toys import video

from sfv.cli.main import main
from sfv.families.load import load
from sfv.families.svd.random_weights import write_random
from sfv.media import read_note

RUNS = Path(__file__).parent.parent.parent / "runs" / "recipes"
STAND_IN = f"""#!{sys.executable} -S
import json, sys
with open({{log!r}}, "a") as log:
    log.write(json.dumps(sys.argv[1:]) + "\\n")
"""
SHORT = ["--set", "steps=2", "accumulate=1", "head_start=1", "head_width=32", "save_minutes=60", "log_every=1"]


@pytest.fixture(scope="module")
def svd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("svd") / "random"
    write_random(folder, "tiny", torch.float16)
    return folder


@pytest.fixture(scope="module")
def picture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("picture") / "photo.png"
    Image.effect_noise((80, 64), 90).convert("RGB").save(path)
    return path


def commands(tmp_path: Path, script: str, *given: object, **env: str) -> list[list[str]]:
    """What a script asks of sfv, in order."""
    log, shims = tmp_path / "asked.jsonl", tmp_path / "bin"
    shims.mkdir(exist_ok=True)
    for name in ("sfv", "python", "torchrun"):
        (shims / name).write_text(STAND_IN.format(log=str(log)))
        (shims / name).chmod(0o755)
    log.unlink(missing_ok=True)
    path = f"{shims}:{os.environ['PATH']}"
    subprocess.run(["bash", RUNS / script, *map(str, given)], check=True, env=os.environ | {"PATH": path} | env)
    asked = [json.loads(line) for line in log.read_text().splitlines()]
    return [a[a.index("sfv") + 1 :] if "-m" in a[:6] else a for a in asked]


def run(asked: list[list[str]]) -> None:
    for one in asked:
        assert main(one) == 0, one


def test_the_teacher(svd: Path, picture: Path, tmp_path: Path) -> None:
    size = ["--height", "64", "--width", "64"]
    asked = commands(tmp_path, "svd_teacher.sh", svd, picture, tmp_path / "out", *size, DEVICE="cpu")
    assert [a[0] for a in asked] == ["generate"]
    run(asked)
    told = json.loads(read_note(tmp_path / "out" / "teacher.mp4"))
    assert (told["settings"]["steps"], told["settings"]["guidance"]) == (25, 3)


def test_a_few_steps(svd: Path, picture: Path, tmp_path: Path) -> None:
    unet = tmp_path / "AnimateLCM-SVD.safetensors"
    save_file(load_file(svd / "unet" / "diffusion_pytorch_model.safetensors"), unet)
    given = unet, svd, picture, tmp_path / "out", "--height", "64", "--width", "64"
    asked = commands(tmp_path, "svd_few_steps.sh", *given, DEVICE="cpu")
    assert [a[0] for a in asked] == ["import", "generate"]
    run(asked)
    told = json.loads(read_note(tmp_path / "out" / "few-steps.mp4"))
    assert {k: told["settings"][k] for k in ("steps", "guidance", "sampler")} == {
        "steps": 4,
        "guidance": 1.2,
        "sampler": "consistency",
    }
    again = commands(tmp_path, "svd_few_steps.sh", *given, DEVICE="cpu")
    assert [a[0] for a in again] == ["generate"], "the folder is made once"


def test_every_card_has_its_preset(svd: Path, tmp_path: Path) -> None:
    for where, preset in (("24gb", "svd-24gb"), ("80gb", "svd-80gb"), ("8x80gb", "svd-paper")):
        asked = commands(tmp_path, "svd_distil.sh", where, svd, tmp_path / "videos", tmp_path / "work", DEVICE="cpu")
        assert [a[0] for a in asked] == ["encode", "train", "report", "export"]
        assert asked[1][asked[1].index("--preset") + 1] == preset


@pytest.mark.parametrize(("where", "changes"), [("24gb", ["lora=2"]), ("8x80gb", [])])
def test_distilling(svd: Path, tmp_path: Path, where: str, changes: list[str]) -> None:
    videos = tmp_path / "videos"
    videos.mkdir()
    for seed in range(2):
        video(videos / f"{seed}.mp4", seed, 14, (64, 64))
    given = where, svd, videos, tmp_path / "work", *SHORT, *changes
    asked = commands(tmp_path, "svd_distil.sh", *given, SIZE="64x64", DEVICE="cpu")
    assert [a[0] for a in asked] == ["encode", "train", "report", "export"]
    assert ("fsdp" in asked[1]) == (where == "8x80gb")
    run(asked)
    made = load(tmp_path / "work" / "student")
    assert (made.defaults.steps, made.defaults.guidance) == (1, 1.0)
    pipe = StableVideoDiffusionPipeline.from_pretrained(tmp_path / "work" / "student")
    assert pipe.unet.config.num_frames == 4


def test_an_unknown_machine_is_told(svd: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        ["bash", RUNS / "svd_distil.sh", "12gb", svd, tmp_path, tmp_path / "w"], capture_output=True, text=True
    )
    assert done.returncode == 2 and "none of 24gb, 80gb, 8x80gb" in done.stderr
