"""Samples during training: true figures, the best student kept, reports where people look for them."""

import json
from pathlib import Path

import pytest
import torch
from conftest import wiggle
from ranks import Noise
from safetensors.torch import load_file
from torch import nn
from toys import PerfectFlow, Toy

from sfv.edm.noise import NoiseRange
from sfv.errors import SfvError
from sfv.families.svd.sizes import TINY, new_model
from sfv.training.config import Schedule, StudentTraining
from sfv.training.ema import EMA
from sfv.training.loop import run
from sfv.training.objectives.adversarial import train_student
from sfv.training.presets import stages
from sfv.training.previews import Best, Samples, score
from sfv.training.report import curve, write_report

NOISE_RANGE = NoiseRange(0.002, 200.0)
QUICK = {"steps": 4, "clips": 1, "warmup": 0, "precision": "fp32", "head_start": 0, "head_width": 32, "log_every": 2}


class Playback(PerfectFlow):
    """A generator that has its clips ready, in the order of being asked."""

    def __init__(self, clips: list[torch.Tensor]) -> None:
        super().__init__(torch.zeros(1))
        self.clips = iter(clips)

    def forward(self, x: torch.Tensor, sigma: torch.Tensor, cond: object) -> torch.Tensor:
        assert torch.allclose(x.std(), torch.tensor(200.0), rtol=0.1), "one call starts from noise at sigma_max"
        return next(self.clips)


def test_real_clips_score_best_and_stills_have_no_motion(tmp_path: Path) -> None:
    model = wiggle(new_model(TINY, 0))
    samples = Samples(model.denoiser, Noise(model), 6, 200.0)
    real = [x0 for x0, *_ in samples.clips]
    same = samples.look(Playback(real), tmp_path / "same.png")
    still = samples.look(Playback([x[:, :1].expand_as(x) for x in real]), None)
    assert same["sample_frechet"] == pytest.approx(0, abs=1e-6) and same["sample_motion"] == pytest.approx(1)
    assert still["sample_motion"] == 0 and still["sample_frechet"] > 1
    assert (tmp_path / "same.png").stat().st_size > 1000


def test_a_still_pays_for_its_motion() -> None:
    moving, still = ({"sample_frechet": 2.0, "sample_motion": m} for m in (0.9, 0.2))
    assert score(moving) == 2.0 and score(still) == pytest.approx(8.0)


def test_the_best_is_remembered_over_a_resume(tmp_path: Path) -> None:
    best = Best(tmp_path)
    for step, (frechet, beaten) in enumerate([(3.0, True), (4.0, False), (2.0, True)]):
        assert best.beaten_by(step, {"sample_frechet": frechet, "sample_motion": 1.0}) is beaten
    again = Best(tmp_path)
    assert again.score == 2.0 and json.loads(again.path.read_text())["step"] == 2


def test_the_average_is_worn_and_taken_off() -> None:
    torch.manual_seed(0)
    net = nn.Linear(3, 3)
    average = EMA(net, 0.5)
    start = net.weight.detach().clone()
    with torch.no_grad():
        net.weight += 1
    with pytest.raises(ZeroDivisionError), average.applied():
        assert torch.equal(net.weight, start)
        raise ZeroDivisionError
    assert torch.equal(net.weight, start + 1)


def test_a_run_ends_with_its_best_student_if_asked(tmp_path: Path) -> None:
    """At this rate every further step spoils it, so the best is not the last; the same run can end either way."""
    made = {}
    for keep in ("last", "best"):
        model = wiggle(new_model(TINY, 0))
        how = StudentTraining(**QUICK, sample_every=1, samples=4, lr=0.05, keep=keep)  # type: ignore[arg-type]
        made[keep] = train_student(model.denoiser, Noise(model), how, NOISE_RANGE, tmp_path).state_dict()
    kept = load_file(tmp_path / "best.safetensors")
    name = "unet.conv_in.weight"
    (saved,) = (v for k, v in kept.items() if k.endswith(name))
    assert torch.equal(made["best"][name], saved) and not torch.equal(made["last"][name], saved)
    rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert all(r["sample_frechet"] > 0 and r["sample_motion"] > 0 for r in rows)
    assert len(list((tmp_path / "samples").glob("*.png"))) == 4
    page = write_report(tmp_path).read_text()
    assert "sample_frechet" in page and page.count("data:image/png") == 4


def test_best_needs_samples() -> None:
    with pytest.raises(SfvError, match="keep=best needs sample_every"):
        stages("sticker-cpu", "student", ("keep=best", "sample_every=0"))


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("no memory is left"), OSError("no room"), SfvError("odd")])
def test_a_sheet_that_fails_ends_no_training(error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = wiggle(new_model(TINY, 0))
    samples = Samples(model.denoiser, Noise(model), 3, 200.0)

    def fails(*_: object) -> None:
        raise error

    monkeypatch.setattr(samples.batches, "decode", fails)
    assert samples.look(model.denoiser, tmp_path / "x.png")["sample_frechet"] > 0 and not (tmp_path / "x.png").exists()


def test_an_average_on_the_host_is_the_same() -> None:
    torch.manual_seed(0)
    nets = [nn.Linear(3, 3) for _ in range(2)]
    nets[1].load_state_dict(nets[0].state_dict())
    averages = [EMA(net, 0.9, on_host) for net, on_host in zip(nets, (False, True), strict=True)]
    for net, average in zip(nets, averages, strict=True):
        with torch.no_grad():
            net.weight += 1
        average.update()
    assert torch.equal(averages[0].slow["weight"], averages[1].slow["weight"])


def test_another_run_is_drawn_behind(tmp_path: Path) -> None:
    for name in ("a", "b"):
        run(Toy(), Schedule(steps=6, log_every=2), tmp_path / name, {})
    assert "#bbb" not in write_report(tmp_path / "a").read_text()
    page = write_report(tmp_path / "a", tmp_path / "b").read_text()
    log = write_report(tmp_path / "a", tmp_path / "b" / "log.jsonl").read_text()
    assert page == log and "#bbb" in page
    with pytest.raises(SfvError, match="not a readable log"):
        write_report(tmp_path / "a", tmp_path / "nowhere")


def test_curves_share_their_axes() -> None:
    drawn = curve([(0.0, 0.0), (1.0, 1.0)], [], [(0.0, 0.0), (2.0, 4.0)])
    assert "step 2" in drawn and ">4<" in drawn and drawn.count("<polyline") == 2
    alone = curve([(0.0, 0.0), (1.0, 1.0)], [0.5])
    assert "#bbb" not in alone and "#c33" in alone
