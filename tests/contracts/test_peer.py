"""Agreement with the cd-fvd package (2404.12391) on the same rows; skipped without it.

pip install 'sfv[peer]', or, since its distance needs no torchvision, pip install --no-deps cd-fvd einops.
"""

import sys
import warnings
from unittest.mock import MagicMock, patch

import pytest
import torch

from sfv.measures.distances import frechet_distance

UNUSED = ("torchvision", "torchvision.transforms", "torchvision.datasets", "torchvision.datasets.video_utils")
"""What the package reads videos with; its distance needs scipy alone."""

with warnings.catch_warnings(), patch.dict(sys.modules, {name: MagicMock() for name in UNUSED}):
    warnings.simplefilter("ignore")
    fvd = pytest.importorskip("cdfvd.fvd", reason="needs pip install 'sfv[peer]'", exc_type=ImportError)


class Statistics:
    """What the package asks of its own feature collections."""

    def __init__(self, rows: torch.Tensor) -> None:
        self.rows = rows.double()

    def get_mean_cov(self):  # type: ignore[no-untyped-def]
        return self.rows.mean(0).numpy(), torch.cov(self.rows.T).numpy()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("n", "d"), [(512, 40), (2048, 400)])
def test_the_distance_is_the_one_that_cd_fvd_gives(n: int, d: int) -> None:
    g = torch.Generator().manual_seed(0)
    mix = torch.randn(d, d, generator=g) / d**0.5
    a, b = torch.randn(n, d, generator=g) @ mix, 1.2 * torch.randn(n, d, generator=g) + 0.1
    theirs = fvd.cdfvd.compute_fvd_from_stats(None, Statistics(a), Statistics(b))
    assert frechet_distance(a, b) == pytest.approx(float(theirs), rel=1e-3)
