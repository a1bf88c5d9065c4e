"""Distances in closed form, motion and consistency by hand."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sfv.measures.distances import Basis, bootstrap, frechet_distance, kernel_distance, paired_ratio, resample
from sfv.measures.video import (
    distance_to,
    flicker,
    moves,
    psnr,
    saturation_drift,
    seam,
    sharpness_drift,
    top_share,
    warp_error,
)
from sfv.media import flow, flow_fields


def exact_rows(mean: torch.Tensor, root: torch.Tensor, n: int = 400) -> torch.Tensor:
    """Rows whose sample mean and covariance are exactly `mean` and root @ root.T."""
    x = torch.randn(n, len(mean), dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    x = x - x.mean(0)
    whiten = torch.linalg.inv(torch.linalg.cholesky(x.T @ x / (n - 1)))
    return x @ whiten.T @ root.T + mean


def test_frechet_of_gaussians_in_closed_form() -> None:
    """Commuting covariances: |m|^2 + sum (s_a - s_b)^2."""
    a, b = torch.tensor([1.0, 2.0, 0.5]).double(), torch.tensor([0.3, 2.5, 0.0]).double()
    m = torch.tensor([1.0, -2.0, 0.25]).double()
    want = float(m.square().sum() + (a - b).square().sum())
    got = frechet_distance(exact_rows(torch.zeros(3).double(), a.diag()), exact_rows(m, b.diag()))
    assert got == pytest.approx(want, rel=1e-8)


def test_frechet_of_general_gaussians_against_the_matrix_root() -> None:
    g = torch.Generator().manual_seed(1)
    a, b = torch.randn(2, 5, 5, dtype=torch.float64, generator=g)
    x, y = exact_rows(torch.zeros(5).double(), a), exact_rows(torch.ones(5).double(), b)
    ca, cb = torch.cov(x.T), torch.cov(y.T)
    values, vectors = torch.linalg.eigh(ca)
    half = vectors @ values.clamp(min=0).sqrt().diag() @ vectors.T
    root = torch.linalg.eigvalsh(half @ cb @ half).clamp(min=0).sqrt().sum()
    want = float(5 + ca.trace() + cb.trace() - 2 * root)
    assert frechet_distance(x, y) == pytest.approx(want, rel=1e-8)


@given(st.integers(2, 12), st.integers(1, 30), st.integers(0, 10_000))
@settings(max_examples=1000, deadline=None)
def test_frechet_is_never_negative_and_zero_for_equal_sets(n: int, d: int, seed: int) -> None:
    g = torch.Generator().manual_seed(seed)
    a, b = torch.randn(2, n, d, generator=g)
    a[:, 1:] = a[:, 1:] * (torch.rand(max(0, d - 1), generator=g) < 0.5)  # columns that never vary
    assert frechet_distance(a, b) >= 0
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-6)
    assert frechet_distance(a, b) == pytest.approx(frechet_distance(b, a), rel=1e-6, abs=1e-9)


def test_basis_whitens_scale_and_keeps_distances_comparable() -> None:
    rows = torch.randn(200, 10, generator=torch.Generator().manual_seed(0)) * torch.linspace(0.5, 3, 10)
    basis = Basis(rows, 10)
    got = basis(rows)
    assert got.shape == (200, 10)
    assert float(got.square().sum(1).mean()) == pytest.approx(1, abs=0.02)


def test_a_dead_channel_does_not_outweigh_the_others() -> None:
    rows = torch.randn(100, 10, generator=torch.Generator().manual_seed(0))
    rows[:, 3] = 1e-6 * rows[:, 3]
    moved = rows.clone()
    moved[:, 3] += 0.1
    distance = frechet_distance(*(Basis(rows, 10)(r) for r in (rows, moved)))
    assert 0 < distance < 0.2  # z-scored alone it would be 1e9
    still = torch.zeros(5, 4)
    assert Basis(still, 2)(still).isfinite().all()


def disc(shift: float, frames: int = 6) -> torch.Tensor:
    y, x = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij")
    clip = []
    for t in range(frames):
        d = ((y - 32) ** 2 + (x - 20 - shift * t) ** 2).sqrt()
        texture = 128 + 80 * torch.sin((x - shift * t) / 2) * torch.sin(y / 3)
        clip.append(torch.where(d < 14, texture, torch.tensor(255.0)))
    return torch.stack(clip).round().to(torch.uint8)[..., None].repeat(1, 1, 1, 3)


def test_flow_measures_motion() -> None:
    still, slow, fast = (float(flow(disc(v)).mean()) for v in (0.0, 1.0, 2.0))
    assert still < 0.01 < slow < fast
    assert float(flow(disc(2.0))[0, 28:36, 16:26].mean()) == pytest.approx(2, abs=0.5)


def test_psnr_and_flicker_by_hand() -> None:
    a = torch.zeros(4, 8, 8, 3, dtype=torch.uint8)
    assert psnr(a, a) == 99.0
    assert psnr(a, a + 5) == pytest.approx(20 * math.log10(255 / 5), abs=1e-3)
    ramp = torch.arange(4, dtype=torch.uint8)[:, None, None, None].expand(4, 8, 8, 3)
    assert flicker(ramp) == 0
    assert flicker(torch.stack([a[0], a[0] + 8, a[0], a[0] + 8])) == 16


def test_kernel_distance_by_hand_and_unbiased() -> None:
    a, b = torch.tensor([[1.0], [2.0], [0.0]]), torch.tensor([[0.0], [1.0]])
    k = lambda x, y: (x * y + 1) ** 3  # noqa: E731
    within = sum(k(x, y) for i, x in enumerate(a) for j, y in enumerate(a) if i != j) / 6
    within += sum(k(x, y) for i, x in enumerate(b) for j, y in enumerate(b) if i != j) / 2
    across = sum(k(x, y) for x in a for y in b) / 6
    assert kernel_distance(a, b) == pytest.approx(float(within - 2 * across))
    g = torch.Generator().manual_seed(0)
    draws = [kernel_distance(*torch.randn(2, 8, 4, generator=g)) for _ in range(800)]
    assert min(draws) < 0 and abs(sum(draws) / 800) < 0.05


def test_kernel_distance_of_pairs_is_unbiased_and_nothing_against_itself() -> None:
    """Rows that share what their picture gives look alike by pairs, which is not nearness of their laws."""
    g = torch.Generator().manual_seed(0)
    rows = torch.randn(8, 4, generator=g)
    assert kernel_distance(rows, rows, pairs=True) == pytest.approx(0, abs=1e-9) and kernel_distance(rows, rows) < -1
    draws = []
    for _ in range(800):
        shared, a, b = torch.randn(3, 8, 4, generator=g)
        draws.append([kernel_distance(shared + 0.3 * a, shared + 0.3 * b, pairs=p) for p in (True, False)])
    with_pairs_out, all_in = (sum(v) / 800 for v in zip(*draws, strict=True))
    assert abs(with_pairs_out) < 0.1 and all_in < -0.5


def test_bootstrap_holds_the_value_and_shrinks_with_more_clips() -> None:
    g = torch.Generator().manual_seed(0)
    a = torch.randn(400, 4, generator=g)
    b = a + 0.5 + 0.3 * torch.randn(400, 4, generator=g)
    few, many = (bootstrap(frechet_distance, a[:n], b[:n], 200) for n in (25, 400))
    assert few.low <= few.value <= few.high and many.low <= many.value <= many.high
    assert many.high - many.low < 0.5 * (few.high - few.low)
    assert few.bias > abs(many.bias)
    assert bootstrap(frechet_distance, a, b, 200) == many


def test_a_paired_ratio_is_surer_than_two_intervals() -> None:
    """Two rows err on the same clips; one errs less. Their intervals meet, yet the ratio's leaves no doubt."""
    g = torch.Generator().manual_seed(0)
    real = torch.randn(40, 3, generator=g, dtype=torch.float64)
    hard = 3 * torch.randn(40, 3, generator=g, dtype=torch.float64)
    rows = {k: real + k * hard for k in (0.8, 1.0, 1.001)}
    draws = {k: resample(frechet_distance, v, real, 200) for k, v in rows.items()}
    assert draws[1.0].interval() == bootstrap(frechet_distance, rows[1.0], real, 200)
    less, more = draws[0.8].interval(), draws[1.0].interval()
    assert less.high > more.low
    found = paired_ratio(draws[0.8], draws[1.0])
    assert found.value == pytest.approx(less.value / more.value) and found.low < found.value < found.high < 1
    same = paired_ratio(draws[1.0], draws[1.0])
    assert same.low == same.value == same.high == 1
    other = resample(frechet_distance, rows[0.8], real, 200, seed=1)
    loose = paired_ratio(other, draws[1.0])
    assert loose.high - loose.low > 2 * (found.high - found.low)
    back = paired_ratio(draws[1.0], draws[0.8])
    assert back.low == pytest.approx(1 / found.high) and back.high == pytest.approx(1 / found.low)


def test_seam_by_hand() -> None:
    """Steps of 2, 2, 6 levels, then 10 back to the first: 10 over the median 2."""
    levels = torch.tensor([0, 2, 4, 10], dtype=torch.uint8)[:, None, None, None].expand(4, 8, 8, 3)
    assert seam(levels) == 5
    assert seam(levels[:1].expand(4, -1, -1, -1)) == 0
    assert seam(levels[[0, 1, 2, 1]]) == 1
    assert math.isfinite(seam(levels[[0, 0, 0, 3]])) and seam(levels[[0, 0, 0, 3]]) > 100


def test_warp_error_is_what_flow_does_not_explain() -> None:
    moved = disc(1.0)
    still = torch.zeros(len(moved) - 1, 64, 64, 2)
    explained, unexplained = warp_error(moved, flow_fields(moved)), warp_error(moved, still)
    assert explained < 0.3 * unexplained
    shift = torch.zeros(2, 8, 8, 2)
    shift[..., 0] = 1
    ramp = torch.arange(8, dtype=torch.uint8)[None, None, :, None].expand(3, 8, 8, 3)
    assert warp_error(torch.cat([ramp[:1], ramp[1:] * 10]), shift * 0) > 5
    assert warp_error(ramp, shift) == pytest.approx(1)  # pulled back by one pixel, a ramp is off by one level
    assert warp_error(ramp, 0 * shift) < 1e-6


def test_drifts_and_distance_to_the_picture() -> None:
    g = torch.Generator().manual_seed(0)
    frames = torch.randint(0, 256, (1, 16, 16, 3), generator=g).to(torch.uint8).expand(8, -1, -1, -1).clone()
    assert sharpness_drift(frames) == saturation_drift(frames) == 1
    assert distance_to(frames, frames[0]).tolist() == [0.0] * 8
    frames[4:] = frames[4:].float().mean(-1, keepdim=True).to(torch.uint8)
    assert saturation_drift(frames) == 0
    frames[4:] = 128
    assert sharpness_drift(frames) == 0
    assert float(distance_to(torch.full((1, 4, 4, 3), 7, dtype=torch.uint8), frames[5, :4, :4])[0]) == 121


def test_dynamic_degree_follows_vbench() -> None:
    """At a short side of 512: more than 12 px in the top 5 %, in round(4 * 16 / 16) = 4 of 15 pairs."""
    speed = torch.zeros(15, 512, 600)
    speed[:4, :40] = 12.1
    assert moves(speed)
    assert not moves(speed.clamp(max=11.9))
    slower = speed.clone()
    slower[3] = 0
    assert not moves(slower)
    assert top_share(torch.arange(100.0).reshape(1, 10, 10)).item() == 97
