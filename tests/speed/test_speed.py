"""How a model is run: profiles, backends, what was measured and what follows from it."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from sfv.batch.animate import animate_files
from sfv.batch.replay import replay
from sfv.bench.systems import contestant
from sfv.errors import SfvError
from sfv.families.base import VideoModel
from sfv.families.load import load
from sfv.generation.generate import generate
from sfv.media import read_note
from sfv.settings import Settings, Speed, split_speed
from sfv.speed import search as measure
from sfv.speed.backends import build, refusal
from sfv.speed.openvino import OpenVINO
from sfv.speed.optimize import optimize
from sfv.speed.precision import cast
from sfv.speed.record import choose, keep_record, read_record, record_path


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SFV_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def picture() -> torch.Tensor:
    return torch.randint(0, 255, (40, 40, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def off(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a - b).norm() / b.norm())


def test_exact_changes_nothing_but_rounding(tiny: VideoModel) -> None:
    plain, quick = (generate(m, picture(), steps=1, guidance=1) for m in (tiny, optimize(tiny, "exact", "eager")))
    assert off(quick.latents, plain.latents) < 1e-5
    assert not tiny.speed


def test_fast_computes_in_bfloat16(tiny: VideoModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """Near, not equal; the model that was given stays in float32."""
    monkeypatch.setattr("sfv.speed.optimize.has_bf16", lambda: True)
    quick = optimize(tiny, "fast", "eager")
    plain, made = (generate(m, picture(), steps=1, guidance=1) for m in (tiny, quick))
    assert 1e-4 < off(made.latents, plain.latents) < 0.05
    assert (quick.denoiser.dtype, tiny.denoiser.dtype) == (torch.bfloat16, torch.float32)
    assert quick.codec.encode_dtype == torch.bfloat16 and tiny.codec.encode_dtype is None
    assert quick.speed["precision"] == "bfloat16"


def test_fast_is_exact_where_the_processor_lacks_it(tiny: VideoModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sfv.speed.optimize.has_bf16", lambda: False)
    assert optimize(tiny, "fast", "eager").speed["precision"] == "float32"


def test_openvino_makes_the_same_clip(own_cache: Path) -> None:
    """The embedded model, in float32; a second model finds the kept graphs and needs no tracing."""
    model = load("sticker", decode_dtype=torch.float32)
    how: Any = {"steps": 1}
    plain = generate(model, picture(), **how)
    made = generate(optimize(model, "exact", "openvino"), picture(), **how)
    assert off(made.latents, plain.latents) < 1e-4
    assert float((made.frames.int() - plain.frames.int()).abs().float().mean()) < 0.05
    graphs = {p: p.stat().st_mtime_ns for p in own_cache.rglob("graph.xml")}
    again = generate(optimize(model, "exact", "openvino"), picture(), **how)
    assert int((again.frames.int() - made.frames.int()).abs().max()) <= 1
    assert len(graphs) == 2 and {p: p.stat().st_mtime_ns for p in graphs} == graphs


class Twice(nn.Module):
    def __init__(self, bad: bool = False) -> None:
        super().__init__()
        self.scale, self.bad = nn.Parameter(torch.tensor([2.0]), requires_grad=False), bad

    def forward(self, x: torch.Tensor, add: float = 0.0) -> torch.Tensor:
        if self.bad:
            raise RuntimeError("no such step")
        return x * self.scale + add


def test_other_shapes_and_arguments_are_other_graphs() -> None:
    network = OpenVINO(Twice(), "decode", False, "w")
    for x, add in ((torch.ones(2), 0.0), (torch.ones(2), 1.0), (torch.ones(3), 0.0)):
        assert torch.equal(network(x, add=add), 2 * x + add)
    assert len(network.compiled) == 3


def test_what_openvino_cannot_run_is_one_sentence() -> None:
    with pytest.raises(SfvError, match="OpenVINO cannot run decode .*use --backend eager"):
        OpenVINO(Twice(bad=True), "decode", False, "w")(torch.ones(2))


def test_compiling_changes_nothing_but_rounding() -> None:
    """One small network: a whole model takes minutes."""
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.SiLU(), nn.Conv2d(8, 3, 3)).eval().requires_grad_(False)
    x = torch.randn(1, 3, 12, 12)
    made = build("compile", "decode", network, None, "w")
    assert off(made(x), network(x)) < 1e-5


def test_what_torch_cannot_compile_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(network: nn.Module, **_: Any) -> nn.Module:
        return Twice(bad=True)

    monkeypatch.setattr(torch, "compile", broken)
    with pytest.raises(SfvError, match="torch.compile cannot run unet .no such step.; use --backend eager"):
        build("compile", "unet", Twice(), None, "w")(torch.ones(2))


def test_a_backend_that_has_gone_is_not_chosen(tiny: VideoModel, monkeypatch: pytest.MonkeyPatch) -> None:
    keep_record(tiny, "exact", {"unet": {"openvino": {"start": 0.0, "call": 0.1}}})
    assert optimize(tiny, "exact").speed["unet"] == "openvino"
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert optimize(tiny, "exact").speed["unet"] == "eager"


def test_casting_leaves_the_network_alone() -> None:
    network = Twice()
    assert cast(network, torch.float32) is network
    assert next(cast(network, torch.bfloat16).parameters()).dtype == torch.bfloat16
    assert network.scale.dtype == torch.float32


def test_refusals(tiny: VideoModel, monkeypatch: pytest.MonkeyPatch) -> None:
    for given, says in ((("slow", "eager"), "'slow' is none of exact, fast"), (("fast", "x"), "'x' is none of auto")):
        with pytest.raises(SfvError, match=says):
            optimize(tiny, *given)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(SfvError, match=r'pip install "sfv\[openvino\]"'):
        optimize(tiny, "exact", "openvino")
    monkeypatch.setattr("shutil.which", lambda name: None)
    assert "install g++" in refusal("compile", torch.device("cpu"))
    assert "is for CPUs" in refusal("openvino", torch.device("cuda"))
    with pytest.raises(SfvError, match="backend 'x' is none of"):
        measure.prepare("sticker", "fast", ["x"])


def test_the_quickest_for_the_number_of_clips_is_chosen(tiny: VideoModel) -> None:
    assert choose(tiny, "exact") == (
        {},
        f"eager: nothing was measured here; `sfv optimize {tiny.name}` finds the quickest",
    )
    slow, quick = {"start": 0.0, "call": 0.1}, {"start": 10.0, "call": 0.05}
    keep_record(tiny, "exact", {"unet": {"eager": slow, "compile": quick}, "decode": {"eager": slow}})
    assert choose(tiny, "exact", 1)[0] == {"unet": "eager", "decode": "eager"}
    assert choose(tiny, "exact", 199)[0]["unet"] == "eager"
    chosen, reason = choose(tiny, "exact", 201)
    assert chosen["unet"] == "compile" and reason.startswith(
        "quickest measured here for 201 clips: unet compile (50 ms)"
    )
    assert not choose(tiny, "fast")[0]
    assert optimize(tiny, "exact", clips=1).speed["unet"] == "eager"


def test_a_damaged_record_is_no_record(tiny: VideoModel) -> None:
    path = keep_record(tiny, "exact", {"unet": {"eager": {"start": 0.0}}})
    assert read_record(tiny, "exact") == {"unet": {}}
    for text in ("{", "[1]", '{"unet": 3}'):
        path.write_text(text)
        assert read_record(tiny, "exact") is None
    assert record_path(tiny, "fast") != path


def test_optimize_measures_in_processes_of_their_own(tiny_folder: Path) -> None:
    text = measure.prepare(str(tiny_folder), "exact", ["eager"], rounds=1, device="cpu")
    record = read_record(load(tiny_folder), "exact")
    assert record is not None and record["unet"]["eager"]["call"] > 0 and record["decode"].keys() == {"eager"}
    assert "| unet | eager |" in text and "quickest measured here for 1000 clips" in text


def test_a_backend_that_fails_is_told_and_left_out(tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = measure._child

    def child(asked: list[str], bar: Any) -> dict[str, Any]:
        return {"error": "broke down"} if asked[2] == "compile" else real(asked, bar)

    monkeypatch.setattr(measure, "_child", child)
    text = measure.prepare(str(tiny_folder), "exact", ["compile"], rounds=1, device="cpu")
    assert "compile: broke down" in text
    record = read_record(load(tiny_folder), "exact")
    assert record is not None and record["unet"].keys() == {"eager"}


def test_rows_name_their_own_way() -> None:
    usual = Speed(profile="fast", backend="eager")
    assert split_speed("sticker", usual) == ("sticker", usual)
    assert split_speed("sticker@exact", usual) == ("sticker", Speed(profile="exact", backend="eager"))
    assert split_speed("a/b@fast/openvino", usual) == ("a/b", Speed(profile="fast", backend="openvino"))
    for bad in ("@fast", "sticker@quick", "sticker@fast/x"):
        with pytest.raises(SfvError, match="MODEL@exact|fast"):
            split_speed(bad, usual)
    with pytest.raises(SfvError, match="MODEL@exact|fast"):
        contestant("sticker@quick:1", "cpu")


def test_files_say_how_they_were_made_and_replay_so(tiny_folder: Path, tmp_path: Path) -> None:
    from sfv.media import write_picture

    write_picture(picture(), tmp_path / "p.png")
    settings = Settings(steps=1, guidance=1)
    for profile in ("exact", "fast"):
        out = tmp_path / f"{profile}.webp"
        speed = Speed.model_validate({"profile": profile})
        (report,) = animate_files([tmp_path / "p.png"], str(tiny_folder), settings, out, speed=speed)
        kept = json.loads(read_note(out))["speed"]
        assert report["speed"]["profile"] == kept["profile"] == profile
        again = replay(out)
        assert Path(again["out"]).read_bytes() == out.read_bytes() and again["speed"]["profile"] == profile
