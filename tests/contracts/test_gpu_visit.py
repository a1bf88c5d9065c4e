"""A visit to a GPU: parts in order by one clock, noted as they go; each of the three whole at tiny size on the CPU."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from sticker_pack import COUNTS, write_pack

sys.path.insert(0, str(Path(__file__).parent.parent.parent / "runs" / "full_size"))

import gpu_pack  # noqa: E402
import gpu_visit  # noqa: E402

from sfv.media import write_clip  # noqa: E402

BENCH = """
import sys
from pathlib import Path
part, out = sys.argv[1], Path(sys.argv[2])
print(part, sys.argv[3:])
if part == "stages":
    sys.exit(3)
if part == "clips" and not (out / "tried").exists():
    (out / "tried").write_text("")
    sys.exit(2)
"""
"""Clips fail once, stages always."""


def visited(out: Path) -> list[dict[str, Any]]:
    rows = [json.loads(line) for line in (out / "visit.jsonl").read_text().splitlines()]
    return [r for r in rows if "code" in r]


def test_a_part_that_fails_is_tried_without_compiling_and_the_others_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = tmp_path / "bench.py"
    bench.write_text(BENCH)
    monkeypatch.setattr(gpu_visit, "BENCH", str(bench))
    monkeypatch.setattr(gpu_visit, "LEAST", 0.0)
    assert gpu_visit.main(["speed", str(tmp_path / "none"), str(tmp_path)]) == 1
    told = [(r["part"], r["code"]) for r in visited(tmp_path)]
    assert told == [("kernels", 0), ("clips", 2), ("clips", 0), ("stages", 3), ("stages", 3), ("errors", 0)]
    assert "'graphs'" in (tmp_path / "visit.log").read_text()


def test_no_part_begins_when_time_is_over(tmp_path: Path) -> None:
    assert gpu_visit.main(["train", str(tmp_path), str(tmp_path / "out"), "--seconds", "1"]) == 1
    assert not (tmp_path / "out" / "visit.jsonl").exists()


def test_a_sticker_visit_shares_its_seconds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[list[str]] = []
    monkeypatch.setattr(gpu_visit, "run", lambda words, *_: ran.append(words) or 0)
    assert gpu_visit.main(["sticker", str(tmp_path), str(tmp_path / "out"), "--seconds", "400"]) == 0
    (words,) = ran
    parts = dict(w.split("=") for w in words[words.index("--parts") + 1 :])
    assert parts.keys() == {"teacher", "student"} and 300 < sum(map(float, parts.values())) < 400


def test_a_machine_without_pyav_imports_all_that_a_visit_runs(tmp_path: Path) -> None:
    """What stands in for it is found first; a clip that is to be written is one sentence."""
    site = gpu_pack.unpacked(tmp_path / "no wheels", tmp_path / "site")
    runs = Path(gpu_visit.__file__).parent.parent
    path = os.pathsep.join(map(str, (site, runs / "full_size", runs / "recipes")))
    words = (
        f"import av, gpu_bench, sticker_gpu; assert av.__file__.startswith({str(site)!r})\n"
        "try: av.open('a.mp4')\nexcept ImportError as error: print(error)"
    )
    environment = os.environ | {"PYTHONPATH": path}
    done = subprocess.run([sys.executable, "-c", words], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "PyAV is not on this machine: no video file is read or written\n"


def carried_back(out: Path) -> list[Path]:
    """All files, few and small enough to be brought back."""
    files = [p for p in out.rglob("*") if p.is_file()]
    assert len(files) <= 8 and all(p.stat().st_size <= 16 << 20 for p in files)
    return files


REHEARSED = ["--size", "tiny", "--device", "cpu", "--seconds", "400"]


@pytest.mark.long
@pytest.mark.parametrize(
    ("name", "files"),
    [
        ("speed", {"clips.json", "stages.json", "errors.json"}),
        ("train", {"train-svd-24gb.json", "train-svd-80gb.json", "resume.json"}),
    ],
)
def test_a_whole_visit_at_svds_shape(
    name: str, files: set[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every part ends well and leaves its figures: small random networks, so they mean nothing. Kernels are left out:
    Triton's interpreter takes a minute for them, and test_gpu_bench.py has them."""
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    assert gpu_visit.main([name, str(tmp_path / "pack"), str(tmp_path / "out"), *REHEARSED]) == 0
    assert [(r["part"], r["code"]) for r in visited(tmp_path / "out")] == [(p, 0) for p in gpu_visit.VISITS[name]]
    found = {p.name: json.loads(p.read_text()) for p in carried_back(tmp_path / "out") if p.suffix == ".json"}
    assert found.keys() == files and all(f["size"] == "tiny" for f in found.values())


@pytest.mark.long
def test_a_whole_visit_trains_the_embedded_kind_of_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From video files and a model folder to weights that learned something finite; most seconds are for starting."""
    monkeypatch.setattr(gpu_visit, "SHARES", {"teacher": 0.05, "student": 0.05})
    pack, out, rng = tmp_path / "pack", tmp_path / "out", np.random.default_rng(0)
    write_pack(pack / "sticker")
    (pack / "sticker" / "clips").mkdir()
    for n in COUNTS:
        write_clip(
            torch.from_numpy(rng.integers(0, 256, (n, 128, 256, 3), dtype=np.uint8)),
            pack / "sticker" / "clips" / f"c{n}.mp4",
            24,
        )
    start = pack / "sticker" / "start"
    short = [*REHEARSED, "--seconds", "300", "--init", str(start)]
    assert gpu_visit.main(["sticker", str(pack), str(out), *short]) == 0
    assert [r["code"] for r in visited(out)] == [0]
    assert {p.name for p in carried_back(out) if p.suffix == ".safetensors"} == {
        f"{k}.safetensors" for k in ("teacher", "tower", "student", "lora")
    }
    trained, before = load_file(out / "teacher.safetensors"), load_file(next((start / "teacher").glob("*.safetensors")))
    assert all(v.isfinite().all() for v in trained.values())
    assert any(not torch.equal(v, before[k.removeprefix("unet.")].half()) for k, v in trained.items())


def test_what_is_too_large_to_carry_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "wheels").mkdir()
    (tmp_path / "wheels" / "a.whl").write_bytes(bytes(3 << 20))
    gpu_pack.check(tmp_path, 4 << 20)
    assert "wheels: 3.0 MiB" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="2 can be carried"):
        gpu_pack.check(tmp_path, 2 << 20)
