"""The student's task: shared and unshared steps agree, and every option does what its line says."""

import copy
from pathlib import Path

import pytest
import torch
from conftest import wiggle
from ranks import Noise
from students import NOISE_RANGE, PLAIN, Recorded, task
from toys import PerfectFlow

from sfv.adversary.discriminator import Discriminator
from sfv.edm.sampling import euler, karras_sigmas
from sfv.errors import SfvError
from sfv.families.base import VideoModel
from sfv.families.svd.sizes import TINY, new_model
from sfv.training.config import StudentTraining
from sfv.training.objectives.adversarial import StudentTask, train_student
from sfv.training.objectives.adversarial_losses import endpoint
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


def test_the_difference_tap_ignores_what_does_not_move(tiny: VideoModel) -> None:
    torch.manual_seed(0)
    flow = PerfectFlow(torch.zeros(1, 4, 4, 16, 16))
    D = Discriminator(flow, differences=4)
    cond = tiny.conditioner(torch.zeros(1, 3, 32, 32), fps=7)
    x, picture = torch.randn(1, 4, 4, 16, 16), torch.randn(1, 1, 4, 16, 16)
    last = [D.features(v, torch.tensor([0.3]), cond)[-1] for v in (x, x + picture)]
    assert last[0].shape == (1, 3, 4, 16, 16)
    torch.testing.assert_close(last[0], last[1], atol=1e-4, rtol=1e-4)


def test_reconstruction_can_be_weighed_by_level() -> None:
    """With no weight at any level drawn, the reconstruction neither counts nor pulls."""
    top = {"level_weights": (0.0, 0.0, 1.0)}
    logs = [task(**top, reconstruction_levels=w).step(0, Seeds(0, 0)) for w in ((), (1.0, 1.0, 2.0), (9.0, 9.0, 0.0))]
    assert logs[1]["huber"] == pytest.approx(2 * logs[0]["huber"]) and logs[0]["huber"] > 0
    assert logs[2]["huber"] == 0 and logs[2]["g_balance"] == 0


def test_condition_noise_grows_with_sigma() -> None:
    """At the highest level e^2 times as much as without growth; at the lowest as much."""
    told = []
    for growth in (0.0, 2.0):
        for weights in ((1.0, 0.0, 0.0), (0.0, 0.0, 1.0)):
            made = task(Recorded, level_weights=weights, condition_growth=growth)
            made.step(0, Seeds(0, 0))
            told.append(made.batches.told[-1])  # type: ignore[attr-defined]
    torch.testing.assert_close(told[2], told[0])
    torch.testing.assert_close(told[3], told[1] * torch.tensor(2.0).exp())


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
        (("backbone_lora=4", "shared=false", "lora=4"), "lora=0"),
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
