"""The discriminator over any denoiser; losses by hand; the algorithm's gradients."""

import math

import pytest
import torch
from toys import PerfectFlow

from sfv.adversary.discriminator import Discriminator
from sfv.adversary.losses import LOSSES, adversarial, feature_matching, hinge_fake, hinge_real, pseudo_huber, r1
from sfv.edm.denoiser import Denoiser
from sfv.families.base import VideoModel
from sfv.training.config import StudentTraining
from sfv.training.objectives.adversarial_losses import NoiseDraw, discriminator_loss, generator_losses, judge
from sfv.training.presets import PRESETS
from sfv.types import Cond


def test_hinge_by_hand() -> None:
    logits = [torch.tensor([[2.0, 0.5], [-1.0, 1.0]]), torch.tensor([[0.0], [3.0]])]
    assert float(hinge_real(logits)) == pytest.approx((2.5 / 4 + 1 / 2) / 2)
    assert float(hinge_fake(logits)) == pytest.approx(((3 + 1.5 + 0 + 2) / 4 + (1 + 4) / 2) / 2)
    assert float(adversarial(logits)) == pytest.approx(-(2.5 / 4 + 1.5) / 2)
    assert float(adversarial(logits, torch.tensor([1.0, 0.0]))) == pytest.approx(-(1.25 + 0.0) / 2)


def test_softplus_and_relativistic_by_hand() -> None:
    real, fake = [torch.tensor([[2.0, 0.0]])], [torch.tensor([[-1.0, 3.0]])]
    soft = lambda v: math.log(1 + math.exp(v))  # noqa: E731
    want = (soft(-2) + soft(0) + soft(-1) + soft(3)) / 2
    assert float(LOSSES["softplus"].discriminator(real, fake)) == pytest.approx(want)
    assert float(LOSSES["softplus"].generator(fake, real, None)) == pytest.approx((soft(1) + soft(-3)) / 2)
    pair = LOSSES["relativistic"]
    assert float(pair.discriminator(real, fake)) == pytest.approx((soft(-3) + soft(3)) / 2)
    assert float(pair.generator(fake, real, torch.ones(1))) == pytest.approx((soft(3) + soft(-3)) / 2)
    shifted = [v + 5 for v in real], [v + 5 for v in fake]
    assert float(pair.discriminator(*shifted)) == pytest.approx(float(pair.discriminator(real, fake)))


def test_feature_matching_by_hand() -> None:
    a, b = torch.zeros(2, 1, 1, 1, 1), torch.tensor([1.0, 3.0]).view(2, 1, 1, 1, 1)
    assert feature_matching([a, a], [b, 3 * b]).tolist() == [2.0, 6.0]


def test_the_smoothness_penalty_vanishes_with_its_perturbation(tiny: VideoModel) -> None:
    torch.manual_seed(0)
    D = Discriminator(tiny.denoiser)
    cond = tiny.conditioner(torch.rand(1, 3, 32, 32) * 2 - 1, fps=7)
    x0, n, n_d = torch.randn(3, 1, 4, 4, 16, 16)
    draw = NoiseDraw(torch.tensor([700.0]), n, torch.tensor([0.4]), n_d, n)
    how = StudentTraining(steps=1, clips=1, gamma=0, smoothness=1)
    sizes = []
    for a in (1e-1, 1e-2, 1e-3):
        seen = judge(tiny.denoiser, D, x0, cond, draw, a)
        sizes.append(discriminator_loss(D, seen, cond, draw, how)[1]["d_penalty"])
    assert sizes[0] > 20 * sizes[1] > 400 * sizes[2] > 0


def test_pseudo_huber_by_hand() -> None:
    x = torch.zeros(2, 1, 1, 1, 2)
    y = torch.tensor([3.0, 0.0]).expand(2, 1, 1, 1, 2)
    assert pseudo_huber(x, y, 4.0).tolist() == pytest.approx([0.5, 0.5])
    both = torch.tensor([3.0, 4.0]).expand(2, 1, 1, 1, 2)
    assert pseudo_huber(x, both, 12.0, "clip").tolist() == pytest.approx([1.0, 1.0])


def test_the_papers_norm_pulls_as_many_times_more_as_the_root_of_a_clips_numbers() -> None:
    """SF-V's Eq. 9 at sticker size, 14 x 4 x 16 x 16: 120 times the gradient of the element-wise mean."""
    shape = (1, 14, 4, 16, 16)
    size = []
    for over in ("clip", "element"):
        x = torch.zeros(shape, requires_grad=True)
        pseudo_huber(x, torch.randn(shape, generator=torch.Generator().manual_seed(0)), 1e-3, over).sum().backward()
        assert x.grad is not None
        size.append(float(x.grad.norm()))
    assert size[0] == pytest.approx(1, rel=1e-3)
    assert size[0] / size[1] == pytest.approx((14 * 4 * 16 * 16) ** 0.5, rel=0.01)


@pytest.mark.parametrize("preset", ["sfv-cpu", "svd-paper"])
def test_presets_that_bear_the_papers_name_take_its_norm(preset: str) -> None:
    stage = PRESETS[preset]["student"][-1]
    assert isinstance(stage, StudentTraining) and stage.huber == "clip" and stage.reconstruction == 0.1


def test_r1_by_hand() -> None:
    """D = sum over channels of 3 h: the gradient is 3 in each of 2 channels, squared and summed 18."""
    h = torch.randn(1, 2, 2, 3, 3, requires_grad=True)
    assert float(r1([(3 * h).sum(2).reshape(1, -1)], [h])) == pytest.approx(18)


def test_r1_acts_at_its_usual_weight(tiny: VideoModel) -> None:
    """Fresh heads, whose logits are small: a thousandth to one time the adversarial gradient. It then grows."""
    torch.manual_seed(0)
    D, how = Discriminator(tiny.denoiser), StudentTraining(steps=1, clips=2)
    cond = tiny.conditioner(torch.rand(2, 3, 32, 32) * 2 - 1, fps=7)
    sigma = torch.tensor([0.2, 0.9])
    real, fake = (D.features(x, sigma, cond) for x in torch.randn(2, 2, 4, 4, 16, 16))
    inputs = [h.detach().requires_grad_() for h in real]
    good, bad = D.logits(inputs, sigma, cond), D.logits(fake, sigma, cond)
    sizes = []
    for loss in (hinge_real(good) + hinge_fake(bad), how.gamma * r1(good, inputs)):
        grads = torch.autograd.grad(loss, list(D.heads.parameters()), retain_graph=True, allow_unused=True)
        sizes.append(float(torch.stack([g.square().sum() for g in grads if g is not None]).sum().sqrt()))
    assert 0.001 < sizes[1] / sizes[0] < 1


def backbones(tiny: VideoModel) -> list[tuple[Denoiser, Cond, torch.Tensor]]:
    cond = tiny.conditioner(torch.rand(2, 3, 32, 32) * 2 - 1, fps=7)
    flow = PerfectFlow(torch.randn(2, 4, 4, 16, 16))
    return [(tiny.denoiser, cond, torch.randn(2, 4, 4, 16, 16)), (flow, cond, torch.randn(2, 4, 4, 16, 16))]


@pytest.mark.parametrize("family", [0, 1], ids=["svd", "toy flow"])
def test_heads_judge_any_denoiser(tiny: VideoModel, family: int) -> None:
    """One logit per position, two heads per tap; every head learns, the backbone never."""
    backbone, cond, x0 = backbones(tiny)[family]
    torch.manual_seed(0)
    D = Discriminator(backbone)
    sigma = torch.tensor([0.3, 0.5])
    logits = D(x0.requires_grad_(), sigma, cond)
    assert len(logits) == 2 * len(backbone.feature_channels)
    features = D.features(x0, sigma, cond)
    assert logits[0].shape == (2, features[0].shape[1] * features[0].shape[3] * features[0].shape[4])
    torch.stack([v.square().mean() for v in logits]).sum().backward()
    assert x0.grad is not None and float(x0.grad.abs().sum()) > 0
    silent = [n for n, p in D.heads.named_parameters() if p.grad is None or float(p.grad.abs().sum()) == 0]
    assert not silent
    assert all(p.grad is None for p in backbone.parameters())
    assert not any("backbone" in k for k in D.state_dict())


def test_temporal_heads_see_order_and_spatial_heads_each_frame(tiny: VideoModel) -> None:
    torch.manual_seed(0)
    D = Discriminator(tiny.denoiser)
    told = torch.randn(1, 64)
    features = torch.randn(1, 4, 32, 4, 4)
    shuffled = features[:, [2, 0, 3, 1]]
    D.eval()
    temporal, spatial = D.heads["t0"], D.heads["s0"]
    a, b = temporal(features, told), temporal(shuffled, told)
    assert not torch.allclose(a.sum(), b.sum(), atol=1e-4)
    still = features[:, :1].expand(-1, 4, -1, -1, -1)
    changed = torch.cat([still[:, :3], features[:, 1:2]], 1)
    per_frame = [spatial(x, told).reshape(4, -1) for x in (still, changed)]
    torch.testing.assert_close(per_frame[0][:3], per_frame[1][:3])
    assert not torch.allclose(per_frame[0][3], per_frame[1][3])


WAYS = [{}, {"loss": "softplus"}, {"loss": "relativistic", "gamma": 0, "smoothness": 10}, {"feature_matching": 1}]


@pytest.mark.parametrize("changes", WAYS, ids=["paper", "softplus", "relativistic", "matching"])
def test_one_step_moves_both_and_only_where_it_should(tiny: VideoModel, changes: dict[str, object]) -> None:
    import copy

    torch.manual_seed(0)
    G = copy.deepcopy(tiny.denoiser).requires_grad_(True)
    D = Discriminator(tiny.denoiser)
    cond = tiny.conditioner(torch.rand(2, 3, 32, 32) * 2 - 1, fps=7)
    x0, n, n_d = torch.randn(3, 2, 4, 4, 16, 16)
    draw = NoiseDraw(torch.tensor([700.0, 2.3]), n, torch.tensor([0.2, 0.9]), n_d, n)
    how = StudentTraining(steps=1, clips=2, **changes)  # type: ignore[arg-type]
    seen = judge(G, D, x0, cond, draw, how.perturbation if how.smoothness else 0)
    loss, logs = discriminator_loss(D, seen, cond, draw, how)
    loss.backward()
    assert all(p.grad is None for p in G.parameters()), "the heads' loss must not reach the generator"
    assert logs["d_penalty"] > 0
    assert 0 <= logs["d_accuracy"] <= 1
    before = {n: p.grad.clone() for n, p in D.heads.named_parameters() if p.grad is not None}
    assert before
    judged, near, _ = generator_losses(D, seen, x0, cond, draw, how)
    params = [p for p in G.learnable()]
    grads = torch.autograd.grad(judged + near, params, allow_unused=True)
    assert all(g is not None and float(g.abs().sum()) > 0 for g in grads if g is not None)
    assert sum(g is not None for g in grads) > 0.9 * len(params)
