"""ONNX files: they run as torch does, for any number of frames, and make clips without torch and without sfv."""

import json
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from conftest import wiggle
from PIL import Image

import sfv
from sfv.cli.main import main
from sfv.errors import SfvError
from sfv.families.family import Graphs
from sfv.families.load import graphs, load, rewritten, save
from sfv.families.motion.networks import TINY_MOTION, new_motion_model
from sfv.speed.onnx import export_onnx

CAT = Path(__file__).parent.parent.parent / "src" / "sfv" / "examples" / "cat.png"
NEEDED = ("numpy", "PIL", "pillow", "onnxruntime", "flatbuffers", "packaging", "google", "protobuf")
"""What begins the names of the packages that the example needs."""


@pytest.fixture(scope="module")
def loops(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model of whole loops, random everywhere."""
    folder = tmp_path_factory.mktemp("models") / "loops"
    save(wiggle(new_motion_model(TINY_MOTION, 0)), folder)
    return folder


@pytest.fixture(scope="module")
def sticker(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The embedded model's files, through the command."""
    out = tmp_path_factory.mktemp("onnx") / "sticker"
    assert main(["export", "sticker", str(out), "--to", "onnx"]) == 0
    return out


def off(a: torch.Tensor, b: torch.Tensor) -> float:
    """Relative; of what is to be zero, absolute."""
    return float((a - b).norm() / (b.norm() or 1))


def compare(out: Path, wanted: Graphs, within: float, frames: int | None = None) -> None:
    """Every file against its network in torch; with `frames`, those that take any number take so many."""
    for name, graph in wanted.items():
        inputs = dict(graph.inputs)
        if frames and graph.frames:
            inputs[graph.frames] = inputs[graph.frames][:, :1].expand(-1, frames, -1, -1, -1).contiguous()
        session = onnxruntime.InferenceSession(out / name, providers=["CPUExecutionProvider"])
        assert [i.name for i in session.get_inputs()] == list(inputs)
        assert [o.name for o in session.get_outputs()] == list(graph.outputs)
        outs = session.run(None, {k: v.numpy() for k, v in inputs.items()})
        with torch.no_grad():
            made = graph.network(*inputs.values())
        for given, want in zip(outs, made if isinstance(made, tuple) else (made,), strict=True):
            assert off(torch.from_numpy(given), want) < within, name


def test_files_run_as_torch_does_for_any_number_of_frames(sticker: Path) -> None:
    """Weights are stored in float16, so to three digits."""
    compare(sticker, graphs(rewritten(load("sticker", dtype=torch.float32))), 5e-3, frames=7)
    facts = json.loads((sticker / "onnx.json").read_text())
    assert facts["inputs"]["unet.onnx"]["sample"] == [1, "frames", 112, 8, 8] and facts["latents"] == [24, 16, 8, 8]
    assert facts["noise"]["sigma_max"] == 100 and facts["added_time_ids"][2] == "program"


def test_operators_are_those_of_every_runtime(sticker: Path) -> None:
    """No operators of one runtime's own, and none that onnxruntime-web's WebGPU lacks or gets wrong."""
    for path in sticker.glob("*.onnx"):
        model = onnx.load(path)
        assert [(o.domain, o.version) for o in model.opset_import] == [("", 18)], "WebGPU has no GridSample of 20"
        kinds = {node.op_type for node in model.graph.node}
        assert not kinds & {"GroupNormalization", "Attention", "ConvTranspose", "If", "Loop"}, path.name


def without_torch(place: Path) -> Path:
    """The interpreter of an environment that has numpy, Pillow and ONNX Runtime alone."""
    venv.create(place, with_pip=False)
    (packages,) = place.glob("lib/python*/site-packages")
    for found in Path(sysconfig.get_path("purelib")).iterdir():
        if found.name.startswith(NEEDED):
            (packages / found.name).symlink_to(found)
    return place / "bin" / "python"


def test_a_clip_without_torch_and_without_sfv(sticker: Path, tmp_path: Path) -> None:
    """The example beside the files makes what `sfv generate` makes, to 50 dB."""
    python = without_torch(tmp_path / "venv")
    for absent in ("torch", "sfv"):
        assert subprocess.run([python, "-I", "-c", f"import {absent}"], capture_output=True, check=False).returncode
    run = [python, "-I", sticker / "make_clip.py", CAT, tmp_path / "cat.webp", "7"]
    done = subprocess.run(run, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    model = load("sticker", dtype=torch.float32)
    asked = {"size": "128", "fit": "own", "play_fps": 8, "stiff": "off", "move": "free"}
    wanted = sfv.generate(model, sfv.read_sticker(CAT), transparent=True, seed=7, **asked).stickers().numpy()
    with Image.open(tmp_path / "cat.webp") as clip:
        assert getattr(clip, "n_frames", 1) == len(wanted)
        errors = []
        for i, frame in enumerate(wanted):
            clip.seek(i)
            errors.append((over_white(np.asarray(clip.convert("RGBA"))) - over_white(frame)) ** 2)
    assert 10 * np.log10(255**2 / np.mean(errors)) > 50


def over_white(rgba: np.ndarray) -> np.ndarray:
    alpha = rgba[..., 3:] / 255
    return rgba[..., :3] * alpha + 255 * (1 - alpha)


def test_other_programs_files_and_packages_that_are_missing(
    loops: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "unet.onnx").write_bytes(b"theirs")
    with pytest.raises(SfvError, match="unet.onnx is there and was not written by sfv"):
        export_onnx(loops, tmp_path)
    assert (tmp_path / "unet.onnx").read_bytes() == b"theirs"
    with pytest.raises(SfvError, match="precision bfloat16: ONNX files"):
        export_onnx(loops, tmp_path / "out", "bfloat16")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(SfvError, match=r'pip install "sfv\[onnx\]"'):
        export_onnx(loops, tmp_path / "out")


def test_every_graph_shows_before_it_is_written(
    loops: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """On a terminal's error stream; in a file nothing."""
    from sfv.speed import onnx as module

    seen: list[str] = []

    def write(graph: object, path: Path, halved: bool) -> Path:
        seen.append(f"{path.name} {capsys.readouterr().err}")
        return path

    monkeypatch.setattr(module, "_write", write)
    export_onnx(loops, tmp_path / "quiet")
    assert seen and all(line.endswith(".onnx ") for line in seen)
    seen.clear()
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    export_onnx(loops, tmp_path / "shown")
    assert all(line.split()[0] in line.split(" ", 1)[1] and f"/{len(seen)}" in line for line in seen)
    assert f"{len(seen)}/{len(seen)}" in capsys.readouterr().err


@pytest.mark.long
def test_float32_is_exact(loops: Path, tmp_path: Path) -> None:
    export_onnx(loops, tmp_path, "float32")
    wanted = graphs(rewritten(load(loops, dtype=torch.float32)))
    compare(tmp_path, wanted, 1e-4)
    compare(tmp_path, wanted, 1e-4, frames=7)


@pytest.mark.long
def test_large_networks_keep_their_weights_beside_the_onnx_file(
    tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An SVD-architecture model: picture encoder, tower, UNet and decoder."""
    from sfv.speed import onnx as module

    monkeypatch.setattr(module, "LARGE", 1000)
    paths = export_onnx(tiny_folder, tmp_path)
    assert {p.name for p in paths} == {"encoder.onnx", "tower.onnx", "unet.onnx", "decoder.onnx"}
    beside = tmp_path / "unet.onnx.data"
    assert beside.stat().st_size > (tmp_path / "unet.onnx").stat().st_size
    compare(tmp_path, graphs(rewritten(load(tiny_folder, dtype=torch.float32))), 1e-4)
    size = beside.stat().st_size
    export_onnx(tiny_folder, tmp_path, "float16")
    assert beside.stat().st_size < 0.6 * size
