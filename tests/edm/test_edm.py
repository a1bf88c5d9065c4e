"""Preconditioning, noise laws and the paper's numbers."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from toys import PerfectFlow

from sfv.edm.noise import add_noise, discretised_log_normal, karras_grid, log_normal, seeded_noise
from sfv.edm.preconditioning import v_prediction
from sfv.edm.sampling import euler, karras_sigmas


def test_flow_or_edm_is_data() -> None:
    x0 = torch.randn(2, 3, 4, 5, 6)
    for sigma in (0.1, 1.0, 30.0, 999.0):
        x = add_noise(x0, torch.tensor([sigma, sigma]), torch.randn_like(x0))
        got = PerfectFlow(x0)(x, torch.tensor([sigma, sigma]), {})
        torch.testing.assert_close(got, x0, atol=5e-3, rtol=1e-3)


def test_euler_reaches_x0_of_a_perfect_denoiser() -> None:
    x0 = torch.randn(1, 3, 4, 5, 6)
    sigmas = karras_sigmas(5, 0.002, 80.0)
    x = x0 + 80 * torch.randn_like(x0)
    torch.testing.assert_close(euler(PerfectFlow(x0), x, sigmas, {}), x0, atol=2e-3, rtol=1e-3)


@given(st.floats(1e-3, 700))
@settings(max_examples=50, deadline=None)
def test_v_prediction_solves_its_own_equation(sigma: float) -> None:
    """With F = v = c_in (n - sigma x0), D returns x0 exactly (float64)."""
    s = torch.tensor([sigma], dtype=torch.float64)
    c = v_prediction(s)
    x0, n = torch.randn(2, 7, dtype=torch.float64)
    v = c.c_in * (n - s * x0)
    torch.testing.assert_close(c.c_skip * (x0 + s * n) + c.c_out * v, x0)


def test_svd_coefficients_at_the_start() -> None:
    c = v_prediction(torch.tensor([700.0]))
    assert float(c.c_skip) == pytest.approx(2.0408e-6, rel=1e-4)
    assert float(c.c_in * 700) == pytest.approx(0.999999, abs=1e-6)


def test_generator_levels_of_the_paper() -> None:
    """T = 4 with SVD's constants: 2.269, 70.54, 700."""
    levels = karras_grid(0.002, 700, 4)[1:]
    torch.testing.assert_close(levels, torch.tensor([2.269, 70.54, 700.0], dtype=torch.float64), atol=5e-3, rtol=1e-4)


@pytest.mark.parametrize(
    ("mean", "quantiles", "mean_c_in"),
    [(-2, (0.027, 0.14, 0.70), 0.96), (-1, (0.071, 0.37, 1.93), 0.86), (0, (0.20, 1.0, 5.2), 0.66)],
)
def test_discriminator_law_of_the_paper(mean: float, quantiles: tuple[float, ...], mean_c_in: float) -> None:
    """Eq. 7; the sign of P_std does not matter."""
    grid = karras_grid(0.002, 700, 1000)
    p = discretised_log_normal(grid, mean, -1.0)
    torch.testing.assert_close(p, discretised_log_normal(grid, mean, 1.0))
    assert float(p.sum()) == pytest.approx(1)
    got = [float(grid[1:][int(torch.searchsorted(p.cumsum(0), q))]) for q in (0.05, 0.5, 0.95)]
    assert got == pytest.approx(quantiles, rel=0.05)
    assert float((p / (1 + grid[1:] ** 2).sqrt()).sum()) == pytest.approx(mean_c_in, abs=0.01)


def test_one_step_is_sigma_max_then_zero() -> None:
    assert karras_sigmas(1, 0.002, 700).tolist() == [700, 0]
    assert karras_sigmas(25, 0.002, 700)[0] == 700
    assert karras_sigmas(25, 0.002, 700)[-1] == 0


def test_noise_does_not_depend_on_its_batch() -> None:
    both = seeded_noise([3, 4], (2, 5))
    assert torch.equal(both[1], seeded_noise([4], (2, 5))[0])


def test_log_normal_is_reproducible() -> None:
    draws = [log_normal(torch.randn(4000, generator=torch.Generator().manual_seed(0)), -1, 0.5) for _ in range(2)]
    assert torch.equal(*draws)
    assert float(draws[0].log().mean()) == pytest.approx(-1, abs=0.05)
    assert float(draws[0].log().std()) == pytest.approx(0.5, abs=0.05)
