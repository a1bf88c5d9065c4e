"""sfv doctor: facts that are there, faults that are told with their cure, and exit codes."""

import json
import os
import shutil
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from sfv.cli.main import main
from sfv.doctor import Diagnosis, examine, machine
from sfv.doctor import diagnose as examination
from sfv.doctor.diagnosis import Disk, Extra, Gpu, Machine, Problem, Torch, Weights
from sfv.media import has_encoder

FOLDER = Path(machine.weights().folder)
HERE = Machine(
    system="Linux",
    python="3.11.7",
    cpu="CPU",
    cores=4,
    threads=8,
    quota=2.0,
    flags=("avx2",),
    memory=8 << 30,
    free=1 << 30,
)
CARD = Torch(version="2.13.0", cuda=None, threads=8, capability="AVX2", gpus=(), driver="570.1")


@pytest.mark.weights
def test_doctor_makes_a_clip_and_says_that_all_is_well(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["works"] and told["problems"] == []
    assert told["trial"]["second"] > 0 and told["trial"]["load"] > 0
    assert told["machine"]["threads"] <= (os.cpu_count() or 1)
    assert told["choice"]["profile"] == "fast" and "unet" in told["choice"]["backends"]
    assert told["encoders"] == {"libx264": True}


@pytest.mark.weights
def test_text_is_aligned_and_leaves_the_clip_out(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--no-run"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith("`sfv generate` works here")
    block = lines[lines.index("sfv generate") + 1 :]
    block = block[: block.index("")]
    wide = max(len(label) for label in ("weights", "runs on", "why", "encoders")) + 4
    labels = [line[:wide].strip() for line in block]
    assert [label for label in labels if label] == ["weights", "runs on", "why", "encoders"]
    assert all(line[wide - 1] == " " and line[wide] != " " for line in block)
    assert max(map(len, lines)) <= 110


@pytest.mark.weights
def test_shipped_sums_are_those_of_the_weights() -> None:
    """After new weights: cd src/sfv/weights && sha256sum $(find * -name '*.safetensors' | sort) > SHA256SUMS."""
    listed = {line.split()[1] for line in (FOLDER / machine.SUMS).read_text().splitlines()}
    assert listed == {p.relative_to(FOLDER).as_posix() for p in FOLDER.rglob("*.safetensors")}
    assert machine.weights().damaged == ()


def test_a_damaged_and_a_missing_file_are_told(tmp_path: Path) -> None:
    (tmp_path / "a.safetensors").write_bytes(b"one")
    sums = "7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed"
    (tmp_path / machine.SUMS).write_text(f"{sums}  a.safetensors\n{sums}  b.safetensors\n")
    assert machine.weights(tmp_path).damaged == ("b.safetensors",)
    (tmp_path / "a.safetensors").write_bytes(b"two")
    found = machine.weights(tmp_path)
    assert found.damaged == ("a.safetensors", "b.safetensors") and (found.files, found.size) == (2, 3)
    assert machine.weights(tmp_path / "nowhere").damaged == (machine.SUMS,)


def test_a_weight_cut_short_is_a_problem_with_a_cure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The whole command over a package whose UNet was cut in download: exit 1, two problems, each with its cure."""
    shutil.copytree(FOLDER, tmp_path / "weights")
    unet = tmp_path / "weights" / "sticker" / "unet" / "diffusion_pytorch_model.safetensors"
    unet.write_bytes(unet.read_bytes()[:1000])
    monkeypatch.setattr(machine, "files", lambda package: tmp_path)
    monkeypatch.setattr("sfv.families.load.files", lambda package: tmp_path)
    assert main(["doctor", "--no-run"]) == 1
    out = capsys.readouterr().out
    assert "would not work here" in out and "damaged: sticker/unet" in out
    assert "pip install --force-reinstall" in " ".join(out.split()) and "Traceback" not in out


def test_missing_requirements_end_the_examination_with_the_pip_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "lacking", lambda package, extra="": ("torch>=2.6",))
    found = examine()
    assert not found.works and found.choice is None and found.torch is None
    assert found.problems[0].cure == 'pip install "torch>=2.6"'
    assert '1.  required packages are missing or too old: torch>=2.6; pip install "torch>=2.6"' in found.text()


def test_extras_of_extras_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """sfv[x] needs a[y], a[y] needs b: without b, the extra is not installed."""
    needs = {"sfv": ['a[y]>=1; extra == "x"', "c"], "a": ['b>=2; extra == "y"', 'd; extra == "z"']}
    monkeypatch.setattr(machine.metadata, "requires", needs.get)
    monkeypatch.setattr(machine, "_met", lambda r: r.name == "a")
    assert machine.lacking("sfv", "x") == ("b>=2",)
    assert machine.lacking("sfv") == ("c",)


def test_versions_are_compared() -> None:
    assert machine._met(Requirement("pytest>=8")) and not machine._met(Requirement("pytest<8"))
    assert not machine._met(Requirement("no-such-package-as-this"))


def test_a_container_limit_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cpu.max").write_text("150000 100000\n")
    (tmp_path / "memory.max").write_text(f"{1 << 30}\n")
    (tmp_path / "memory.current").write_text(f"{1 << 29}\n")
    monkeypatch.setattr(machine, "CGROUP", tmp_path)
    here = machine.machine()
    assert (here.quota, here.memory) == (1.5, 1 << 30) and here.free <= 1 << 29
    (tmp_path / "cpu.max").write_text("max 100000\n")
    assert machine.quota() is None


def test_advice_names_its_cure() -> None:
    says = [p.what + p.cure for p in examination._advice(HERE, CARD, ())]
    assert [any(word in s for s in says) for word in ("CUDA build", "OMP_NUM_THREADS=2", "memory", "-e .")] == [
        True
    ] * 4
    fine = HERE.model_copy(update={"quota": None, "free": 8 << 30})
    card = CARD.model_copy(update={"cuda": "13.0", "gpus": (Gpu(name="H100", memory=1, capability="sm_90"),)})
    extra = Extra(name="x", missing=(), pip="")
    assert examination._advice(fine, card, (extra,)) == []


def test_everything_found_is_printed() -> None:
    found = Diagnosis(
        sfv="1.0",
        machine=HERE,
        disk=Disk(folder="/cache", free=None, writable=False),
        weights=Weights(folder="/w", files=1, size=10**6, damaged=("x",)),
        extras=(Extra(name="ray", missing=("ray>=2",), pip='pip install "sfv[ray]"'),),
        torch=CARD,
        encoders={"libx264": False},
        problems=(Problem(what="w", cure="c"),),
    )
    text = found.text()
    for word in ("limited to 2 CPUs", "driver 570.1", "cannot be written", "damaged: x", "libx264 MISSING", "1.  w; c"):
        assert word in text
    assert 'missing ray>=2: pip install "sfv[ray]"' in text and not found.works


def test_encoders_are_asked_of_pyav() -> None:
    assert has_encoder("libx264") and not has_encoder("no_such_encoder")


def test_an_impossible_device_is_a_problem(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--device", "cuda:99"]) == 1
    assert "cannot be used" in capsys.readouterr().out
