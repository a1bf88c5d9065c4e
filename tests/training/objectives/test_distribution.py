"""Distribution matching distillation: what moves the student, what follows it, exact resume."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from conftest import wiggle
from ranks import Noise
from students import NOISE_RANGE
from trainers import train_part

import sfv
from sfv.edm.sampling import euler, karras_sigmas
from sfv.errors import SfvError
from sfv.families.svd.sizes import TINY, new_model
from sfv.training.config import DistributionTraining
from sfv.training.objectives.distribution import DistributionTask, matching_gradient, train_distribution
from sfv.training.objectives.endpoints import Endpoints
from sfv.training.seeds import Seeds

PLAIN = {"steps": 4, "clips": 2, "warmup": 0, "precision": "fp32", "log_every": 1, "head_start": 0, "guidance": 1.0}


def made(**changes: object) -> DistributionTask:
    model = wiggle(new_model(TINY, 0))
    return DistributionTask(model.denoiser, Noise(model), DistributionTraining(**(PLAIN | changes)), NOISE_RANGE)  # type: ignore[arg-type]


def weights(network: torch.nn.Module) -> list[torch.Tensor]:
    return [p.detach().clone() for p in network.parameters()]


def same(a: list[torch.Tensor], b: list[torch.Tensor]) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def test_the_student_is_moved_toward_what_the_teacher_finds_likelier() -> None:
    """The follower says where the clip is, the teacher where it should be; the clip goes from one to the other."""
    at, goal = torch.full((2, 3, 1, 2, 2), 5.0), torch.full((2, 3, 1, 2, 2), 2.0)
    goal[1] = 8
    pulled = matching_gradient(at, goal, at)
    torch.testing.assert_close(pulled[0], torch.ones_like(pulled[0]))
    torch.testing.assert_close(pulled[1], -torch.ones_like(pulled[1]))
    assert not matching_gradient(at, goal, goal).any()


def test_a_student_that_both_see_alike_stays() -> None:
    """Before the follower has learnt anything it is the teacher: no gradient, whatever the student makes."""
    task = made(fake_updates=1)
    before, fake = weights(task.G), weights(task.fake)
    logs = task.step(0, Seeds(0, 0))
    assert logs["g_norm"] == 0 and logs["distance"] == 0 and same(weights(task.G), before)
    assert logs["fake_norm"] > 0 and not same(weights(task.fake), fake)
    assert task.step(1, Seeds(0, 1))["g_norm"] > 0 and not same(weights(task.G), before)


def test_guidance_moves_it_at_once() -> None:
    task = made(guidance=3.0)
    assert task.step(0, Seeds(0, 0))["distance"] > 0


def test_the_teacher_and_a_waiting_student_stay_as_they_are() -> None:
    task = made(head_start=1, fake_updates=2)
    teacher, student = weights(task.teacher), weights(task.G)
    task.step(0, Seeds(0, 0))
    assert same(weights(task.G), student)
    task.step(1, Seeds(0, 1))
    assert same(weights(task.teacher), teacher) and not same(weights(task.G), student)


def test_it_resumes_to_the_bit(tmp_path: Path) -> None:
    model = wiggle(new_model(TINY, 0))
    config = DistributionTraining(**(PLAIN | {"steps": 3, "fake_updates": 1}))  # type: ignore[arg-type]
    whole = train_distribution(model.denoiser, Noise(model), config, NOISE_RANGE, tmp_path / "whole")

    class Cut(Noise):
        def draw(self, *args, **named):  # type: ignore[no-untyped-def]
            self.left = getattr(self, "left", 2) - 1
            if self.left < 0:
                raise KeyboardInterrupt
            return super().draw(*args, **named)

    every = config.model_copy(update={"save_minutes": 0.0})
    start = wiggle(new_model(TINY, 0))
    with pytest.raises((KeyboardInterrupt, SfvError)):
        train_distribution(start.denoiser, Cut(start), every, NOISE_RANGE, tmp_path / "cut")
    start = wiggle(new_model(TINY, 0))
    again = train_distribution(start.denoiser, Noise(start), every, NOISE_RANGE, tmp_path / "cut")
    assert same(weights(again), weights(whole))


def test_the_preset_makes_a_model_of_one_call(begun_loops: Path, store: Path, tmp_path: Path) -> None:
    out = shutil.copytree(begun_loops, tmp_path / "model")
    train_part("student", store, out, "dmd-cpu", ("steps=2", "clips=1", "head_start=1"))
    student = sfv.load(out)
    assert (student.defaults.steps, student.defaults.guidance, student.defaults.sampler) == (1, 1.0, "euler")


def test_an_endpoint_is_where_the_teacher_ends_and_is_made_once(tmp_path: Path) -> None:
    model = wiggle(new_model(TINY, 0))
    pairs = Endpoints(tmp_path / "e", model.denoiser, Noise(model), NOISE_RANGE, 3, 4, 1.0)
    rngs = Seeds(0, 0).clips(5)
    _, n, cond, ends = pairs.draw(rngs.copy())
    with torch.no_grad():
        sigmas = karras_sigmas(4, *NOISE_RANGE)
        whole = euler(model.denoiser, sigmas[0] * n, sigmas, cond)
    torch.testing.assert_close(ends, whole, atol=2e-2, rtol=1e-2)  # kept in half precision, and drawn in other batches
    calls = []
    model.denoiser.register_forward_hook(lambda *_: calls.append(1))
    again = pairs.draw(rngs)[3]
    assert torch.equal(again, ends) and not calls
    with pytest.raises(SfvError, match="delete it"):
        Endpoints(tmp_path / "e", model.denoiser, Noise(model), NOISE_RANGE, 3, 5, 1.0)


def test_pairs_teach_the_student_before_anything_is_matched(tmp_path: Path) -> None:
    model = wiggle(new_model(TINY, 0))
    config = DistributionTraining(**(PLAIN | {"pairs": 2, "pair_steps": 3, "head_start": 100, "lr": 1e-3, "steps": 12}))  # type: ignore[arg-type]
    train_distribution(model.denoiser, Noise(model), config, NOISE_RANGE, tmp_path / "run")
    rows = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert rows[-1]["regression"] < 0.8 * rows[0]["regression"] and "distance" not in rows[-1]
    assert (tmp_path / "run" / "endpoints" / "endpoints.json").exists()
