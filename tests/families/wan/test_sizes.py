"""Wan2.2 TI2V-5B counted on the meta device: published sizes, presets on their cards; no weight is allocated."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from trainers import dry_run

from sfv.cli.main import main
from sfv.costs import outlook
from sfv.costs.account import account
from sfv.costs.counting import count
from sfv.costs.training import GB, Account
from sfv.costs.training import account as account_training
from sfv.errors import SfvError
from sfv.families.load import described, load
from sfv.families.wan.sizes import WanShapes
from sfv.training.config import StudentTraining
from sfv.training.presets import PRESETS

CODEC = 4 * 704_688_668
"""Bytes of the autoencoder in float32, which lies on the card beside what is counted."""


def test_parameters_are_the_published_ones() -> None:
    """A transformer of 5 billion: ComfyUI's fp16 file is 10.0 GB; the original's Wan2.2_VAE.pth is 2.82 GB in fp32."""
    shapes = WanShapes()
    assert sum(p.numel() for p in shapes.denoiser().parameters()) == 4_999_787_712
    assert 4 * sum(p.numel() for p in shapes.codec().parameters()) == CODEC == pytest.approx(2.82 * GB, rel=1e-3)
    assert shapes.stride == 32 and tuple(shapes.latents(1).shape) == (1, 21, 48, 30, 52)


def test_arithmetic_of_a_call_by_hand() -> None:
    """Matrix products of the blocks, attention to frames and to 512 words; what is left out is below 5 per cent."""
    shapes = replace(WanShapes(), frames=5, height=352, width=640)
    n, d, ffn, words = 2 * 11 * 20, 3072, 14336, 512
    linear = n * (4 * d * d + 2 * d * d + 2 * d * ffn) + words * 2 * d * d
    attention = 2 * n * n * d + 2 * n * words * d
    (step,) = [c for c in shapes.calls() if c.role == "step"]
    per_token = n * 6 * d * d  # the modulation of every token
    want = 2 * (30 * (linear + attention) + per_token)
    assert count(step.plain)[0] == pytest.approx(want, rel=0.05)


def counted(preset: str, **size: int) -> Account:
    stage = PRESETS[preset]["student"][-1]
    assert isinstance(stage, StudentTraining)
    return account_training(replace(WanShapes(), **size), stage)


@pytest.mark.long
def test_wan_5b_24gb_fits_by_counting() -> None:
    """With the codec: one frozen network in bf16, adapters and heads."""
    got = counted("wan-5b-24gb")
    print(got)
    assert 5.0e9 < got.parameters < 5.2e9 and got.trained < 0.1e9
    assert got.peak <= 22 * GB


@pytest.mark.long
def test_wan_5b_80gb_fits_by_counting() -> None:
    got = counted("wan-5b-80gb", height=704, width=1280)
    print(got)
    assert got.peak <= 76 * GB


def test_the_command_counts_a_folder(wan_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["account", str(wan_folder), "--presets", "debug"]) == 0
    text = capsys.readouterr().out
    assert re.search(r"5 frames of 64x64.*transformer, guided.*decode.*1 step, diffusers, eager.*debug", text, re.S)
    assert "own kernels" not in text
    parts = {p.name: p.parameters for p in account(model=str(wan_folder), presets=()).parts}
    assert parts["transformer"] == sum(p.numel() for p in load(wan_folder).denoiser.parameters())


@pytest.mark.parametrize(
    ("changes", "says"), [({"frames": 6}, "frames 6: .* ask for 5 or 9"), ({"size": "48x64"}, "multiples of 32")]
)
def test_bad_requests_say_so(wan_folder: Path, changes: dict[str, object], says: str) -> None:
    with pytest.raises(SfvError, match=says):
        account(model=str(wan_folder), presets=(), **changes)


def test_a_dry_run_says_what_a_run_needs(wan_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outlook, "matmul_rate", lambda device: 1e12)  # measuring it takes a while
    (needs,) = dry_run("student", "debug", ("lora=2",), init=wan_folder)["needs"]
    assert needs["parameters_million"] > 0.037 and needs["peak_gb"] > 0
    assert described("wan-5b") == WanShapes()


@pytest.mark.parametrize(
    ("part", "changes"),
    [("transformer", {"num_layers": "many"}), ("vae", {"dim_mult": 3}), ("transformer", {"_class_name": "Other"})],
)
def test_a_configuration_that_is_wrong_is_named(
    wan_folder: Path, tmp_path: Path, part: str, changes: dict[str, object]
) -> None:
    shutil.copytree(wan_folder, folder := tmp_path / "wan")
    path = folder / part / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    with pytest.raises(SfvError, match=f"{part} (cannot be opened|holds a Other)"):
        described(folder)
