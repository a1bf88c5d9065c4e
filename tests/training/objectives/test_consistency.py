"""Other recipes under the same roof: consistency distillation, and what LADD and UFOGen do otherwise."""

import copy
from pathlib import Path

import pytest
import torch
from conftest import wiggle
from ranks import Noise
from students import NOISE_RANGE, task
from toys import PerfectFlow, picture
from trainers import dry_run, train_part

import sfv
from sfv.edm.noise import add_noise, karras_grid
from sfv.edm.sampling import consistency, consistency_sigmas, euler, guided, karras_sigmas
from sfv.errors import SfvError
from sfv.families.base import VideoModel
from sfv.families.svd.sizes import TINY, new_model
from sfv.generation.generate import generate
from sfv.training.config import ClipTraining, ConsistencyTraining
from sfv.training.objectives.consistency import ConsistencyTask, step_down, train_consistency
from sfv.training.presets import PRESETS
from sfv.training.seeds import Seeds

PLAIN = {"steps": 4, "clips": 2, "warmup": 0, "precision": "fp32", "log_every": 1}


def made(**changes: object) -> ConsistencyTask:
    model = wiggle(new_model(TINY, 0))
    return ConsistencyTask(model.denoiser, Noise(model), ConsistencyTraining(**(PLAIN | changes)), NOISE_RANGE)  # type: ignore[arg-type]


def test_the_consistency_sampler_denoises_whole_and_noises_again() -> None:
    x0 = torch.randn(2, 4, 3, 2, 2, generator=torch.Generator().manual_seed(0))
    seen: list[torch.Tensor] = []

    class Perfect(PerfectFlow):
        def forward(self, x, sigma, cond):  # type: ignore[no-untyped-def]
            seen.append(x)
            return x0

    sigmas, noise = karras_sigmas(3, 0.01, 10.0), torch.ones_like(x0)
    start = x0 + 10 * torch.randn(x0.shape)
    assert torch.equal(consistency(Perfect(x0), start, sigmas, {}, lambda i: i * noise), x0)
    assert len(seen) == 3 and torch.equal(seen[0], start)
    for i in (1, 2):
        torch.testing.assert_close(seen[i], x0 + sigmas[i] * i * noise)


def test_one_step_is_the_same_by_either_sampler(tiny: VideoModel) -> None:
    a, b = (generate(tiny, picture(), steps=1, guidance=1, sampler=s).latents for s in ("euler", "consistency"))
    assert torch.equal(a, b)
    three = [generate(tiny, picture(), steps=3, guidance=1, sampler="consistency", seed=s) for s in (1, 1, 2)]
    assert three[0].calls == 3 and torch.equal(three[0].latents, three[1].latents)
    assert not torch.equal(three[0].latents, three[2].latents)
    guided_too = generate(tiny, picture(), steps=3, guidance=2, sampler="consistency", seed=1)
    assert guided_too.calls == 6 and not torch.equal(guided_too.latents, three[0].latents)
    with pytest.raises(SfvError, match="has 40 levels"):
        generate(tiny, picture(), steps=41, guidance=1, sampler="consistency")


def test_consistency_levels_are_animatelcms() -> None:
    """Its scheduler for 4 steps: levels 0, 10, 20, 30 of 40 from the top; never sigma_min, where nothing changes."""
    got = consistency_sigmas(4, 0.002, 700.0)
    low, high = 0.002 ** (1 / 7), 700 ** (1 / 7)
    want = [(high + i / 39 * (low - high)) ** 7 for i in (0, 10, 20, 30)] + [0]
    assert got.tolist() == pytest.approx(want, rel=1e-5)
    for steps in (1, 2, 3, 8, 40):
        levels = consistency_sigmas(steps, 0.002, 700.0)
        assert len(levels) == steps + 1 and levels[0] == 700 and bool((levels.diff() < 0).all())
    assert consistency_sigmas(2, 0.002, 700.0)[1] > 1


def test_a_teacher_step_is_guided_euler(tiny: VideoModel) -> None:
    model, rngs = wiggle(new_model(TINY, 0)), Seeds(0, 0).clips(2)
    x0, cond = Noise(model).draw(rngs)
    uncond, D = model.conditioner.unconditional(cond), model.denoiser
    high, low = torch.tensor([9.0, 9.0]), torch.tensor([5.0, 5.0])
    scale = torch.stack([model.conditioner.guidance_over_frames(g, 4) for g in (2.0, 1.0)])
    x = add_noise(x0, high, rngs.normal(*x0.shape[1:]))
    got = step_down(D, x, high, low, cond, uncond, scale)
    with torch.no_grad():
        x0_hat = guided(D, x, high, cond, uncond, torch.linspace(1, 2, 4))
        torch.testing.assert_close(got[0], (x0_hat + 5 / 9 * (x - x0_hat))[0], atol=1e-5, rtol=1e-5)
        x0_hat = D(x, high, cond)
        torch.testing.assert_close(got[1], (x0_hat + 5 / 9 * (x - x0_hat))[1], atol=1e-5, rtol=1e-5)


def test_the_target_is_the_slow_network_and_stays_where_it_is() -> None:
    """With a target that never moves, the student's gradient is that of its distance to the slow answer."""
    t = made(levels=5)
    before = copy.deepcopy(t.averages["target"].slow)
    live = [p.detach().clone() for p in t.G.parameters()]
    logs = t.step(0, Seeds(0, 0))
    assert logs["loss"] > 0 and logs["g_norm"] > 0
    assert all(torch.equal(before[n], v) for n, v in t.averages["target"].slow.items())
    assert any(not torch.equal(a, b.detach()) for a, b in zip(live, t.G.parameters(), strict=True))


def test_consistency_training_lowers_its_loss_on_one_batch(tmp_path: Path) -> None:
    t = made(lr=1e-3, levels=6)
    losses = []
    for step in range(12):
        losses.append(t.step(step, Seeds(0, 0))["loss"])
        t.averages["target"].update()
    assert min(losses[6:]) < 0.9 * losses[0]


def test_bf16_does_not_mix_the_slow_weights_into_the_student() -> None:
    """Autocast remembers casts; the student's answer must come from its own weights."""
    for precision in ("fp32", "bf16"):
        t = made(precision=precision, levels=3)
        for v in t.averages["target"].slow.values():
            v.mul_(0)
        logs = t.step(0, Seeds(0, 0))
        assert logs["g_norm"] > 0, precision


def test_every_recipe_trains_a_student_that_opens_and_is_sampled_its_way(
    begun_svd: Path, store: Path, tmp_path: Path
) -> None:
    small = ("steps=2", "log_every=1")
    for name in ("sfv-cpu", "ladd-cpu", "ufogen-cpu", "consistency-cpu"):
        rival = tmp_path / name
        more = () if name.startswith("consistency") else ("head_start=0", "head_width=32", "target_steps=2")
        train_part("student", store, rival, name, (*small, *more), init=begun_svd)
        model = sfv.load(rival)
        assert model.defaults.sampler == ("consistency" if name.startswith("consistency") else "euler")
        assert sfv.generate(model, picture(), steps=2).calls == 2


def test_ufogen_shows_the_level_below() -> None:
    t = task(d_noise="next", levels=4)
    grid = karras_grid(NOISE_RANGE[0], NOISE_RANGE[1], 4, NOISE_RANGE[2]).float()
    for step in range(6):
        rngs = Seeds(0, step).clips(2)
        draw = t._seen(rngs, "heads").draw
        for sigma, below in zip(draw.sigma.tolist(), draw.sigma_d.tolist(), strict=True):
            at = int((grid - sigma).abs().argmin())
            assert at > 0 and below == pytest.approx(float(grid[at - 1]))


def test_ladd_shows_what_the_teacher_makes_from_fresh_noise() -> None:
    t = task(real="teacher", target_steps=3)
    seen = t._seen(Seeds(0, 0).clips(2), "heads")
    rngs = Seeds(0, 0).clips(2)
    rngs.uniform()
    x0, cond = t.batches.draw(rngs, louder=torch.ones(2))
    t._draw(x0, seen.draw.sigma, rngs)
    n = rngs.normal(*x0.shape[1:])
    with torch.no_grad():
        taught = euler(t.D.backbone, NOISE_RANGE[1] * n, karras_sigmas(3, NOISE_RANGE[0], NOISE_RANGE[1]), cond)
        want = t.D.features(add_noise(taught, seen.draw.sigma_d, seen.draw.n_d), seen.draw.sigma_d, cond)
    for a, b in zip(seen.judged.real, want, strict=True):
        torch.testing.assert_close(a, b, atol=1e-3, rtol=1e-3)


def test_rivals_share_one_budget() -> None:
    """As many clips drawn in batches of one size."""
    names = ("sfv", "sfv-plus", "ladd", "ufogen", "consistency", "pairs", "drifting")
    rivals = [PRESETS[f"{n}-cpu"]["student"][-1] for n in names]
    assert all(isinstance(r, ClipTraining) for r in rivals)
    assert {(r.clips_drawn, r.clips) for r in rivals} == {(640, 2)}  # type: ignore[attr-defined]


def test_contradictory_guidance_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SfvError, match="two rising numbers"):
        dry_run("student", "consistency-cpu", ("guidance=[3, 1]",))
    model = wiggle(new_model(TINY, 0))
    config = ConsistencyTraining(**(PLAIN | {"steps": 2}))  # type: ignore[arg-type]
    done = train_consistency(model.denoiser, Noise(model), config, NOISE_RANGE, tmp_path / "run")
    half = config.model_copy(update={"blend": 0.5})
    again = train_consistency(wiggle(new_model(TINY, 0)).denoiser, Noise(model), half, NOISE_RANGE, tmp_path / "run")
    start = dict(wiggle(new_model(TINY, 0)).denoiser.named_parameters())
    for (n, a), b in zip(again.named_parameters(), done.parameters(), strict=True):
        torch.testing.assert_close(a, (start[n] + b) / 2, atol=1e-5, rtol=1e-5)
