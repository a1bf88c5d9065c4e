"""EDM preconditioning as data: one row of four coefficients per family of networks.

x0_hat = c_skip * x + c_out * F(c_in * x; c_noise)   (Karras et al. 2206.00364, Eq. 7; SF-V 2406.04324, Eq. 2)
"""

from typing import NamedTuple

from torch import Tensor

from sfv.types import Sigma


class Coefficients(NamedTuple):
    """Four fp32 numbers per clip, each of shape (b,)."""

    c_skip: Tensor
    c_out: Tensor
    c_in: Tensor
    c_noise: Tensor


def v_prediction(sigma: Sigma) -> Coefficients:
    """SVD's row: sigma_data = 1, c_out negated because F predicts v (SF-V Eq. 6)."""
    s2 = sigma**2 + 1
    return Coefficients(1 / s2, -sigma / s2.sqrt(), 1 / s2.sqrt(), sigma.log() / 4)


def rectified_flow(sigma: Sigma) -> Coefficients:
    """Flow networks (velocity n - x0 at t = sigma / (1 + sigma)): x_t = x / (1 + sigma)."""
    c = 1 / (1 + sigma)
    return Coefficients(c, -sigma * c, c, 1000 * sigma * c)
