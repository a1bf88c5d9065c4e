"""Warm starts and rivals without a discriminator: pairs, drifting, and objectives one after the other."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import wiggle
from ranks import Noise
from students import NOISE_RANGE, PLAIN, task
from trainers import train_part

import sfv
from sfv.adversary.losses import stillness
from sfv.edm.denoiser import Denoiser
from sfv.edm.noise import add_noise
from sfv.edm.sampling import euler, karras_sigmas
from sfv.errors import SfvError
from sfv.families.svd.sizes import TINY, new_model
from sfv.training.config import DriftingTraining, PairTraining, Schedule, StudentTraining, TeacherTraining
from sfv.training.objectives import distil, learner
from sfv.training.objectives.distil import train_chain
from sfv.training.objectives.drifting import drift, places, train_drifting
from sfv.training.objectives.endpoints import Endpoints
from sfv.training.objectives.pairs import train_pairs
from sfv.training.presets import PRESETS
from sfv.training.seeds import Seeds

QUICK = {"clips": 2, "warmup": 0, "decay_from": 1.0, "precision": "fp32", "log_every": 1}
PAIRS = PairTraining(**QUICK, steps=40, pairs=2, pair_steps=3, guidance=1.0, lr=3e-3, ema=0.5)  # type: ignore[arg-type]


def read_log(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def test_pairs_are_learnt_and_the_teacher_stays(tmp_path: Path) -> None:
    """Two pairs by heart: nearer to the teacher's ends, from the same noise, than its own first step."""
    model = wiggle(new_model(TINY, 0))
    teacher, batches = model.denoiser, Noise(model)
    before = {n: p.detach().clone() for n, p in teacher.named_parameters()}
    student = train_pairs(teacher, batches, PAIRS, NOISE_RANGE, tmp_path)
    assert all(torch.equal(p, before[n]) for n, p in teacher.named_parameters())
    ends = Endpoints(tmp_path / "endpoints", teacher, batches, NOISE_RANGE, 2, 3, 1.0)
    _, n, cond, end = ends.draw(Seeds(0, 0).clips(2))
    high = torch.full((2,), NOISE_RANGE.sigma_max)
    with torch.no_grad():
        grid = karras_sigmas(3, *NOISE_RANGE)
        want = euler(teacher, add_noise(0 * n, high, n), grid, cond)
        torch.testing.assert_close(end, want, atol=2e-3, rtol=2e-3)  # kept in float16
        off = [float((D(add_noise(0 * n, high, n), high, cond) - end).square().mean()) for D in (teacher, student)]
    assert off[1] < 0.5 * off[0]
    rows = read_log(tmp_path)
    assert rows[-1]["error_to_still"] < rows[0]["error_to_still"]


def test_the_teachers_ends_are_not_those_of_a_student_that_learns_by_adapters(tmp_path: Path) -> None:
    """Ends that are made late in the run are the teacher's still."""
    model = wiggle(new_model(TINY, 0))
    batches, how = Noise(model), PAIRS.model_copy(update={"lora": 4, "pairs": 50, "steps": 6, "lr": 0.1})
    student = train_pairs(model.denoiser, batches, how, NOISE_RANGE, tmp_path)
    teacher = wiggle(new_model(TINY, 0)).denoiser
    assert any(not torch.equal(a, b) for a, b in zip(student.parameters(), teacher.parameters(), strict=True))
    assert (tmp_path / "lora.safetensors").exists()
    ends = Endpoints(tmp_path / "endpoints", teacher, batches, NOISE_RANGE, 50, 3, 1.0)
    made = [i for i, done in enumerate(ends.done) if done]
    assert len(made) > 6
    _, n, cond = ends._start(made)
    want = ends._end(n, cond)
    got = torch.stack([torch.from_numpy(ends.kept[i].copy()) for i in made]).float()
    torch.testing.assert_close(got, want, atol=2e-3, rtol=2e-3)


def test_drift_pulls_to_real_ones_and_is_of_size_one_at_each_temperature() -> None:
    rng = torch.Generator().manual_seed(0)
    real, far = torch.randn(64, 3, 5, generator=rng), torch.randn(64, 3, 5, generator=rng) + 3
    move = drift(far, real, (0.5,))
    assert float(move.mean(0).max()) < -0.5 and float(move.square().mean()) == pytest.approx(1, rel=1e-3)
    mirrored = drift(-far, -real, (0.5,))
    torch.testing.assert_close(mirrored, -move, atol=1e-4, rtol=1e-3)


def test_particles_that_drift_take_the_real_ones_shape() -> None:
    """Two clumps of real points: particles begun between them go to both, not to their mean."""
    rng = torch.Generator().manual_seed(0)
    clumps = torch.tensor([[-2.0, 0.0], [2.0, 0.0]]).repeat(20, 1)[:, None]
    real = clumps + 0.1 * torch.randn(40, 1, 2, generator=rng)
    x = 0.3 * torch.randn(40, 1, 2, generator=rng)
    for _ in range(300):
        x = x + 0.05 * drift(x, real, (0.1, 0.5))
    near = torch.cdist(x[:, 0], torch.tensor([[-2.0, 0.0], [2.0, 0.0]])).argmin(1)
    assert 10 <= int(near.sum()) <= 30
    assert float(torch.cdist(x[:, 0], real[:, 0]).min(1).values.median()) < 0.4


def test_places_see_maps_and_their_change() -> None:
    h = torch.randn(2, 5, 7, 8, 8)
    maps = places([h, h[..., :2, :2]])
    assert [tuple(m.shape) for m in maps] == [(2, 80, 7), (2, 64, 7), (2, 20, 7), (2, 16, 7)]
    still = places([h[:, :1].expand_as(h)])
    assert float(still[1].abs().max()) == 0


@pytest.mark.parametrize("lora", [0, 4])
def test_a_student_drifts(lora: int, tmp_path: Path) -> None:
    model = wiggle(new_model(TINY, 0))
    start = {n: p.detach().clone() for n, p in model.denoiser.named_parameters()}
    how = DriftingTraining(**QUICK, steps=3, lr=1e-3, lora=lora)  # type: ignore[arg-type]
    student = train_drifting(model.denoiser, Noise(model), how, NOISE_RANGE, tmp_path)
    assert any(not torch.equal(p, start[n]) for n, p in student.named_parameters())
    assert {"gap", "motion", "spread", "g_norm"} <= read_log(tmp_path)[-1].keys()


def test_stillness_by_hand() -> None:
    real = torch.randn(2, 5, 3, 4, 4)
    assert stillness(real, real).tolist() == [0, 0] and stillness(2 * real, real).tolist() == [0, 0]
    want = 2 * torch.tensor(2.0).log()
    torch.testing.assert_close(stillness(0.5 * real, real), (want**2).expand(2))
    logs = [task(motion_floor=w).step(0, Seeds(0, 0)) for w in (0.0, 1.0)]
    assert logs[0]["stillness"] == logs[1]["stillness"] >= 0


def test_a_chain_begins_each_stage_with_the_one_before(tmp_path: Path) -> None:
    """At a rate of 0 the adversary gives back what pairs made of the teacher, which stays as it was."""
    model = wiggle(new_model(TINY, 0))
    before = {n: p.detach().clone() for n, p in model.denoiser.named_parameters()}
    short = PAIRS.model_copy(update={"steps": 4})
    rest = StudentTraining(**(PLAIN | {"lr": 0.0, "steps": 2}))  # type: ignore[arg-type]
    ended = train_chain(model.denoiser, Noise(model), (short, rest), NOISE_RANGE, tmp_path / "chain")
    alone = train_chain(model.denoiser, Noise(model), (short,), NOISE_RANGE, tmp_path / "alone")
    for (name, a), b in zip(ended.named_parameters(), alone.parameters(), strict=True):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-5, msg=name)
    assert all(torch.equal(p, before[n]) for n, p in model.denoiser.named_parameters())
    assert (tmp_path / "chain" / "0" / "log.jsonl").exists() and (tmp_path / "chain" / "1" / "log.jsonl").exists()
    assert (tmp_path / "alone" / "log.jsonl").exists()


def test_what_waits_between_stages_waits_on_the_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The meta device stands for the host: each stage begins with a network that lies there; the student comes back."""
    began: list[str] = []

    def train(teacher: Denoiser, batches: object, *rest: Any) -> Denoiser:
        began.append(next(rest[-1].parameters()).device.type)
        return copy.deepcopy(teacher)  # where the teacher is: on the card

    for module in (distil, learner):
        monkeypatch.setattr(module, "host_of", lambda device: torch.device("meta"))
    monkeypatch.setattr(distil, "OBJECTIVES", ((PairTraining, train),))
    model = new_model(TINY, 0)
    student = train_chain(model.denoiser, Noise(model), (PAIRS, PAIRS, PAIRS), NOISE_RANGE, tmp_path)
    assert began == ["meta"] * 3 and next(student.parameters()).device.type == "cpu"


@pytest.mark.parametrize("lora", [0, 4])
def test_adapters_on_generator_and_judge_at_once(lora: int, tmp_path: Path) -> None:
    """Each on a network of its own: both move, and neither sees the other's."""
    model = wiggle(new_model(TINY, 0))
    short = PAIRS.model_copy(update={"steps": 2, "lora": lora})
    both = StudentTraining(**(PLAIN | {"lora": 4, "backbone_lora": 4, "shared": False, "lr": 1e-3, "steps": 3}))  # type: ignore[arg-type]
    student = train_chain(model.denoiser, Noise(model), (short, both), NOISE_RANGE, tmp_path)
    assert not any("lora" in n for n, _ in student.named_parameters())
    made = task(lora=4, backbone_lora=4, shared=False, lr=1e-3)
    assert made.D.backbone is not made.G
    for step in range(2):
        made.step(step, Seeds(0, step))
    moved = [
        {n for n, p in net.named_parameters() if "lora_B" in n and float(p.detach().abs().max()) > 0}
        for net in (made.G, made.D.backbone)
    ]
    assert moved[0] and moved[1] and moved[1] < moved[0], "the judge's decoder half judges nothing"


def test_a_student_begins_as_a_student_that_is_there(
    begun_svd: Path, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At a rate of 0 the adversary gives back the student that it was begun with, not the teacher."""
    quick = {"steps": 2, "clips": 2, "head_start": 1, "warmup": 0, "precision": "fp32"}
    monkeypatch.setitem(PRESETS["debug"], "student", (StudentTraining(**quick),))  # type: ignore[arg-type]
    first, second = tmp_path / "first", tmp_path / "second"
    train_part("student", store, first, "debug", ("lr=0.01",), init=begun_svd)
    train_part("student", store, second, "debug", ("lr=0", f"start={first}"), init=begun_svd)
    known, again = (dict(sfv.load(m).denoiser.named_parameters()) for m in (first, second))
    for name, p in again.items():
        torch.testing.assert_close(p, known[name], msg=name)
    assert any(not torch.equal(p, known[n]) for n, p in sfv.load(begun_svd).denoiser.named_parameters())
    with pytest.raises(SfvError, match="start was .*first.* and is now null, which cannot change within a run"):
        train_part("student", store, second, "debug", ("lr=0",), init=begun_svd)


def test_where_a_student_cannot_begin_is_one_sentence(tmp_path: Path) -> None:
    model = new_model(TINY, 0)
    other = PAIRS.model_copy(update={"start": "sticker"})
    for stages, why in (((PAIRS, other), "give 0.start"), ((other,), "not built as the teacher's")):
        with pytest.raises(SfvError, match=why):
            train_chain(model.denoiser, Noise(model), stages, NOISE_RANGE, tmp_path)


def test_what_makes_no_student_is_one_sentence(tmp_path: Path) -> None:
    model = new_model(TINY, 0)
    stages: tuple[Schedule, ...] = (TeacherTraining(steps=1, clips=1),)
    with pytest.raises(SfvError, match="TeacherTraining does not configure a student"):
        train_chain(model.denoiser, Noise(model), stages, NOISE_RANGE, tmp_path)


def test_a_chain_is_one_command(begun_svd: Path, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chain = (
        PairTraining(steps=2, clips=2, pairs=3, pair_steps=2),
        StudentTraining(steps=2, clips=2, head_start=1),
    )
    monkeypatch.setitem(PRESETS["debug"], "student", chain)
    train_part("student", store, tmp_path / "m", "debug", ("0.steps=3", "lr=0.001"), init=begun_svd)
    configs = [json.loads((tmp_path / "m" / "runs" / "student" / i / "config.json").read_text()) for i in "01"]
    assert [c["task"] for c in configs] == ["pairs", "student"] and [c["steps"] for c in configs] == [3, 2]
    assert sfv.load(tmp_path / "m").defaults.steps == 1
