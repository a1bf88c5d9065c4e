"""The full-size bench on small random networks and the CPU: every part runs, and its table says what it must."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

RUNS = Path(__file__).parent.parent.parent / "runs" / "full_size"
sys.path.insert(0, str(RUNS))

import goals  # noqa: E402
import gpu_bench  # noqa: E402

from sfv.costs.roofline import Ceilings, Roofline  # noqa: E402

TRY = ["--size", "tiny", "--device", "cpu", "--backend", "eager", "--rounds", "1"]


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("gpu")


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Small networks lose by a second one."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def part(name: str, out: Path) -> dict[str, Any]:
    assert gpu_bench.main([name, str(out), *TRY]) == 0
    found: dict[str, Any] = json.loads((out / f"{name}.json").read_text())
    assert found["size"] == "tiny" and found["random_weights"]
    return found


@pytest.mark.long
def test_clips_and_stages(out: Path) -> None:
    found = part("clips", out)
    assert set(found["wall"]) == {"B25", "B1", "exact", "fast"} and all(v > 0 for v in found["wall"].values())
    assert found["finite"] and found["wall"]["B25"] > found["wall"]["B1"]
    found = part("stages", out)
    assert {"clip", "encode", "unet", "decode", "small decode", "host copy"} <= set(found)
    assert all(found[k]["floor"] > 0 for k in ("clip", "encode", "unet", "decode"))


@pytest.mark.long
def test_errors(out: Path) -> None:
    """Both are bfloat16's, and of one size."""
    found = part("errors", out)
    ours, theirs = found["exact eager"], found["diffusers bf16"]
    assert all(1e-4 < v < 0.3 for v in (*ours.values(), *theirs.values()))
    assert ours["pixels"] < 2 * theirs["pixels"]


@pytest.mark.long
def test_training_steps(out: Path) -> None:
    found = steps(out, "svd-80gb")
    assert found["finite"] and set(found["seconds_per_sample"]) == {"shared", "naive", "naive and codec"}
    work = found["tflop"]
    assert work["shared"] == pytest.approx(3 * work["F"] + 3 * work["E"])
    assert work["naive"] == pytest.approx(4 * work["F"] + 5 * work["E"])


def steps(out: Path, name: str) -> dict[str, Any]:
    assert gpu_bench.main([f"train-{name.removeprefix('svd-')}", str(out), *TRY]) == 0
    found: dict[str, Any] = json.loads((out / f"train-{name}.json").read_text())
    return found


@pytest.mark.slow
def test_adapters_step_and_a_killed_run_goes_on(out: Path) -> None:
    found = steps(out, "svd-24gb")
    assert found["finite"] and found["tflop"]["shared"] == pytest.approx(
        2 * found["tflop"]["F"] + 3 * found["tflop"]["E"]
    )
    found = part("resume", out)
    assert found["checkpoint_gb"] > 0 and 1 < found["resumed_at"] < found["ended_at"]


@pytest.mark.long
def test_kernels_at_small_sizes(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("triton", reason='Triton is not installed (pip install "sfv[kernels]")')
    from sfv.kernels import group_norm_silu

    monkeypatch.setattr(group_norm_silu, "JOINED", 32)  # the interpreter takes milliseconds for every program
    found = part("kernels", out)["kernels"]
    assert len(found) == 7 and all(row["error"] < 1e-2 for row in found.values())


@pytest.mark.long
def test_the_table(out: Path) -> None:
    """What is there is told, what is not says so, and small networks are no measurement."""
    said = goals.table(out)
    assert "these figures mean nothing" in said and "| G1 | fast profile" in said
    assert said.count(goals.MISSING) >= 1
    empty = goals.table(out / "nothing")
    assert empty.count(goals.MISSING) == len(goals.GOALS) and "Nothing was measured" in empty


def test_figures_by_hand(tmp_path: Path) -> None:
    wall = {"B25": 10.0, "B1": 1.0, "exact": 0.4, "fast": 0.1}
    stage = {"events": 0.2, "floor": 0.1, "eager": 0.3, "tflop": 1.0, "gb": 1.0}
    errors = {"diffusers bf16": {"latents": 0.02, "pixels": 0.01}, "exact eager": {"latents": 0.02, "pixels": 0.011}}
    train = {"seconds_per_sample": {"shared": 1.0, "shared compiled": 0.5, "naive": 1.2, "naive and codec": 1.5}}
    train |= {"mfu": {"shared": 0.25}, "peak_gb": 40.0}
    given = {"clips": {"wall": wall}, "stages": {"unet": stage, "decode": stage}, "errors": errors}
    for name, value in (given | {"train-svd-80gb": train}).items():
        (tmp_path / f"{name}.json").write_text(json.dumps(value))
    said = goals.table(tmp_path)
    for line in ("| 100x | 100.00x |", "| 30x | 25.00x |", "| 3.5x | 2.50x |", "| 1.6x | 2.00x |", "| 2.4x | 3.00x |"):
        assert line in said
    assert (
        "1.10x" in said and "| 25 % |" in said and "rewrites, relative error, float32 | 1e-5 |  | not measured" in said
    )


def test_without_a_gpu_it_is_one_sentence(tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    done = subprocess.run(
        [str(RUNS / "gpu_bench.sh"), "clips", str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHON": sys.executable, "PATH": "/usr/bin:/bin", "TMPDIR": str(tmp_path)},
    )
    assert done.returncode == 1 and "needs an NVIDIA GPU" in done.stdout and "Traceback" not in done.stdout


def test_roofline_by_hand() -> None:
    """A product bound by arithmetic and one bound by traffic, attention as two products."""
    a, b = torch.randn(8, 16), torch.randn(16, 4)
    flops, moved = 2 * 8 * 16 * 4, 4 * (8 * 16 + 16 * 4 + 8 * 4)
    for top, floor in ((Ceilings(1.0, 1e9, 1.0), flops), (Ceilings(1e9, 1.0, 1.0), moved)):
        with Roofline(top) as counted:
            (a @ b).relu()
        assert (counted.flops, counted.bytes, counted.floor) == (flops, moved, float(floor))
    q = torch.randn(1, 2, 6, 16)
    with Roofline(Ceilings(1.0, 1e9, 1.0)) as counted, torch.inference_mode():
        torch.nn.functional.scaled_dot_product_attention(q, q, q)
    assert counted.flops == 4 * 2 * 6 * 6 * 16
