"""The student's task: shared and unshared steps agree, and every option does what its line says."""

import copy
import math
from pathlib import Path

import pytest
import torch
from conftest import wiggle
from ranks import Noise
from safetensors.torch import load_file
from students import NOISE_RANGE, PLAIN, Recorded, task
from toys import PerfectFlow

from sfv.adversary.discriminator import Discriminator
from sfv.edm.sampling import euler, karras_sigmas
from sfv.errors import SfvError
from sfv.families.base import VideoModel
from sfv.families.svd.sizes import TINY, new_model
from sfv.settings import Defaults
from sfv.training.config import StudentTraining
from sfv.training.objectives import adversarial
from sfv.training.objectives.adversarial import StudentTask, train_student
from sfv.training.objectives.adversarial_losses import endpoint
from sfv.training.objectives.distil import called_once
from sfv.training.parallel import World
from sfv.training.presets import stages
from sfv.training.seeds import Seeds


def after(made: StudentTask, steps: int = 2) -> dict[str, torch.Tensor]:
    for step in range(steps):
        made.step(step, Seeds(0, step))
    every = {**dict(made.G.named_parameters()), **{f"D.{n}": p for n, p in made.D.heads.named_parameters()}}
    return {n: p.detach() for n, p in every.items()}


@pytest.mark.parametrize("changes", [{}, {"lora": 4}, {"accumulate": 2}], ids=["full", "lora", "accumulated"])
def test_the_shared_step_has_the_gradients_of_the_naive_one(changes: dict[str, object]) -> None:
    shared, naive = (after(task(shared=s, lr=1e-4, **changes)) for s in (True, False))
    before = dict(task(**changes).G.named_parameters())
    assert any(not torch.equal(before[n].detach(), p) for n, p in shared.items() if n in before)
    for name, p in shared.items():
        torch.testing.assert_close(p, naive[name], atol=2e-6, rtol=1e-4, msg=name)


def test_the_balance_is_that_of_the_gradients_at_x0_hat() -> None:
    """Ten times the reconstruction's weight is ten times the balance; the update itself is the sum's gradient."""
    once, tenfold = (task(reconstruction=r).step(0, Seeds(0, 0))["g_balance"] for r in (0.1, 1.0))
    assert tenfold == pytest.approx(10 * once, rel=1e-3) and once > 0


def test_without_the_adversary_only_the_rest_moves_the_generator() -> None:
    bare = {"reconstruction": 0.0, "motion_floor": 0.0}
    moved = [task(adversarial=w, **bare).step(0, Seeds(0, 0))["g_norm"] for w in (0.0, 1.0)]
    assert moved[0] == 0 < moved[1]
    assert task(adversarial=0.0).step(0, Seeds(0, 0))["g_norm"] > 0, "the reconstruction"


@pytest.mark.parametrize("kinds", ["s", "t", "c", "stc"])
def test_heads_are_what_the_config_names(kinds: str) -> None:
    made = task(heads=kinds, differences=True)
    taps = len(made.G.feature_channels) + 1
    assert set(made.D.heads) == {f"{k}{i}" for k in kinds for i in range(taps)}
    logs = made.step(0, Seeds(0, 0))
    assert all(f"head_{name}" in logs for name in made.D.heads)


def test_a_clip_head_gives_one_logit_and_sees_every_frame(tiny: VideoModel) -> None:
    torch.manual_seed(0)
    D = Discriminator(tiny.denoiser, kinds="c")
    features = torch.randn(2, 4, 32, 4, 4, requires_grad=True)
    out = D.heads["c0"](features, torch.randn(2, 64))
    assert out.shape == (2, 1)
    out[0].sum().backward()
    seen = features.grad.abs().sum((2, 3, 4))  # type: ignore[union-attr]
    assert (seen[0] > 0).all() and (seen[1] == 0).all()


def test_the_difference_tap_sees_how_much_moves_and_nothing_else(tiny: VideoModel) -> None:
    """Neither what stands still nor the judge's noise; three times the motion is three times the map."""
    torch.manual_seed(0)
    flow = PerfectFlow(torch.zeros(1, 4, 4, 16, 16))
    D = Discriminator(flow, differences=4)
    D.difference_scale.fill_(0.5)
    cond = tiny.conditioner(torch.zeros(1, 3, 32, 32), fps=7)
    x, picture, noise = torch.randn(1, 4, 4, 16, 16), torch.randn(1, 1, 4, 16, 16), torch.randn(1, 4, 4, 16, 16)

    def last(clean: torch.Tensor) -> torch.Tensor:
        return D.features(clean + noise, torch.tensor([1.0]), cond, clean)[-1]

    assert last(x).shape == (1, 3, 4, 16, 16)
    torch.testing.assert_close(last(x), 2 * (x[:, 1:] - x[:, :-1]))
    torch.testing.assert_close(last(x), last(x + picture), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(last(3 * x), 3 * last(x))


def test_differences_are_judged_in_units_of_real_ones() -> None:
    """Mean square 1 over real clips, channel by channel."""
    made = task(differences=True, clips=2)
    real = [made.batches.draw(Seeds(0, i).clips(1))[0] for i in range(16)]
    square = torch.stack([(x[:, 1:] - x[:, :-1]).square().mean((0, 1, 3, 4)) for x in real]).mean(0)
    torch.testing.assert_close(made.D.difference_scale, square.sqrt())
    assert float(made.D.difference_scale.min()) > 1, "clips of noise differ by the root of 2"


def test_reconstruction_can_be_weighed_by_level() -> None:
    """With no weight at any level drawn, the reconstruction neither counts nor pulls."""
    top = {"level_weights": (0.0, 0.0, 1.0)}
    logs = [task(**top, reconstruction_levels=w).step(0, Seeds(0, 0)) for w in ((), (1.0, 1.0, 2.0), (9.0, 9.0, 0.0))]
    assert logs[1]["huber"] == pytest.approx(2 * logs[0]["huber"]) and logs[0]["huber"] > 0
    assert logs[2]["huber"] == 0 and logs[2]["g_balance"] == 0


def test_condition_noise_grows_with_sigma() -> None:
    """At the highest level e^2 times as much as without growth; at the lowest as much."""
    seen = []
    for growth in (0.0, 2.0):
        for weights in ((1.0, 0.0, 0.0), (0.0, 0.0, 1.0)):
            made = task(Recorded, level_weights=weights, condition_growth=growth)
            made.step(0, Seeds(0, 0))
            seen.append(made.batches.noise_aug[-1])  # type: ignore[attr-defined]
    torch.testing.assert_close(seen[2], seen[0])
    torch.testing.assert_close(seen[3], seen[1] * torch.tensor(2.0).exp())


def test_one_level_is_sigma_max_alone() -> None:
    """Its condition noise is the highest level's; before, it was not a number."""
    made = task(Recorded, levels=2, level_weights=(1.0,), condition_growth=2.0)
    top = task(Recorded, level_weights=(0.0, 0.0, 1.0), condition_growth=2.0)
    logs = [t.step(0, Seeds(0, 0)) for t in (made, top)]
    assert all(math.isfinite(v) for v in logs[0].values()) and logs[0] == logs[1]
    torch.testing.assert_close(made.batches.noise_aug[-1], top.batches.noise_aug[-1])  # type: ignore[attr-defined]


def test_a_student_of_grown_condition_noise_is_called_with_as_much() -> None:
    before = Defaults(frames=4, height=32, width=32, noise_aug=0.02)
    plain, grown = (called_once(before, StudentTraining(**(PLAIN | c))) for c in ({}, {"condition_growth": 1.5}))  # type: ignore[arg-type]
    assert plain.noise_aug == 0.02 and grown.noise_aug == pytest.approx(0.02 * math.exp(1.5))


def test_adapters_are_added_to_whole_weights_not_to_halved_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a GPU, where the frozen network is bfloat16 while it trains."""
    monkeypatch.setattr(adversarial, "halves", lambda precision, device: True)
    model = wiggle(new_model(TINY, 0))
    before = {n: p.detach().clone() for n, p in model.denoiser.named_parameters()}
    how = StudentTraining(**(PLAIN | {"lora": 4, "lr": 1e-2, "precision": "bf16"}))  # type: ignore[arg-type]
    student = train_student(model.denoiser, Noise(model), how, NOISE_RANGE, tmp_path)
    added = load_file(tmp_path / "lora.safetensors")
    moved = 0
    for name, p in student.named_parameters():
        assert p.dtype == torch.float32
        key = name.removesuffix(".weight")
        want = before[name]
        if f"{key}.lora_A.weight" in added:
            want = want + added[f"{key}.lora_B.weight"] @ added[f"{key}.lora_A.weight"]
            moved += float((want - before[name]).abs().max()) > 0
        torch.testing.assert_close(p.detach(), want, atol=1e-6, rtol=1e-6)
    assert moved > 10


def test_one_rank_alone_decides_which_samples_are_best(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ranks may see figures that differ in the last digit; all save, or none."""
    asked: list[list[bool]] = []
    monkeypatch.setattr(adversarial, "any_rank", lambda flags, world: asked.append(flags) or [False])
    made = task(sample_every=1, samples=3)
    made.world = World(rank=1, size=2)
    made.look(1, tmp_path)
    assert asked == [[False]] and not (tmp_path / "best.json").exists() and not (tmp_path / "best.safetensors").exists()


def test_the_endpoint_is_where_the_sampler_goes(tiny: VideoModel) -> None:
    cond = tiny.conditioner(torch.rand(2, 3, 32, 32) * 2 - 1, fps=7)
    uncond = tiny.conditioner.unconditional(cond)
    sigma = torch.tensor([200.0, 4.0])
    x = torch.randn(2, 4, 4, 16, 16) * sigma[:, None, None, None, None]
    ends = endpoint(tiny.denoiser, x, sigma, cond, uncond, torch.linspace(1, 2.0, 4), NOISE_RANGE, 3)
    one = [{k: v[1:] for k, v in c.items()} for c in (cond, uncond)]
    grid = karras_sigmas(3, NOISE_RANGE[0], 4.0, NOISE_RANGE[2])
    with torch.no_grad():
        want = euler(tiny.denoiser, x[1:], grid, one[0], one[1], torch.linspace(1, 2.0, 4))
    torch.testing.assert_close(ends[1:], want)


def test_the_teachers_endpoint_can_be_the_target() -> None:
    data, teacher = (task(target=t, target_steps=2).step(0, Seeds(0, 0)) for t in ("data", "teacher"))
    assert teacher["huber"] != data["huber"] and teacher["g_adv"] == pytest.approx(data["g_adv"])


def test_a_backbone_with_adapters_learns_and_the_student_does_not_inherit_them(tmp_path: Path) -> None:
    made = task(backbone_lora=4, shared=False)
    weights = {n: p.detach().clone() for n, p in made.D.backbone.named_parameters()}
    made.step(0, Seeds(0, 0))
    made.step(1, Seeds(0, 1))
    moved = {n for n, p in made.D.backbone.named_parameters() if not torch.equal(p.detach(), weights[n])}
    assert moved and all("lora_" in n for n in moved)
    model = wiggle(new_model(TINY, 0))
    how = StudentTraining(**(PLAIN | {"backbone_lora": 4, "shared": False, "lr": 0.0}))  # type: ignore[arg-type]
    before = copy.deepcopy(model.denoiser.state_dict())
    student = train_student(model.denoiser, Noise(model), how, NOISE_RANGE, tmp_path)
    assert student.state_dict().keys() == before.keys()
    assert all(torch.equal(v, before[k]) for k, v in student.state_dict().items())


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (("level_weights=[1,2]",), "level_weights has 2 numbers, levels=4 needs 3"),
        (("reconstruction_levels=[1]",), "reconstruction_levels has 1 numbers"),
        (("backbone_lora=4",), "shared=False"),
        (("heads=sx",), "heads"),
        (("heads=ss",), "heads"),
        (("target=noise",), "'data' or 'teacher'"),
        (("level_weights=[1,",), "a list is written"),
    ],
)
def test_contradictions_are_one_sentence(changes: tuple[str, ...], says: str) -> None:
    with pytest.raises(SfvError, match=says.replace("(", r"\(")) as caught:
        stages("sticker-cpu", "student", changes)
    assert "\n" not in str(caught.value)


def test_lists_are_written_as_json() -> None:
    plan = stages("sticker-cpu", "student", ("level_weights=[1, 2, 3]", "levels=4", "heads=stc"))
    assert plan[-1].level_weights == (1.0, 2.0, 3.0)  # type: ignore[attr-defined]


def test_copied_generators_give_the_same_again() -> None:
    rngs = Seeds(3, 4).clips(2)
    rngs.normal(2)
    again = rngs.copy()
    first = rngs.normal(3)
    assert torch.equal(first, again.normal(3)) and not torch.equal(first, rngs.normal(3))
