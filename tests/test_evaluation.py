"""Distances in closed form, and the table end to end on a tiny store."""

import json
import math
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from sfv.bench import STAGES, bench, summaries
from sfv.errors import SfvError
from sfv.evaluation.evaluate import Measured, markdown, through_codec
from sfv.evaluation.features import STRIDES, extractors
from sfv.families.base import VideoModel
from sfv.generation import to_frames
from sfv.media import flow
from sfv.metrics import Basis, flicker, frechet_distance, psnr
from sfv.settings import Settings


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
@settings(max_examples=100, deadline=None)
def test_frechet_is_never_negative_and_zero_for_equal_sets(n: int, d: int, seed: int) -> None:
    g = torch.Generator().manual_seed(seed)
    a, b = torch.randn(2, n, d, generator=g)
    assert frechet_distance(a, b) >= 0
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-6)
    assert frechet_distance(a, b) == pytest.approx(frechet_distance(b, a), rel=1e-6, abs=1e-9)


def test_basis_whitens_scale_and_keeps_distances_comparable() -> None:
    rows = torch.randn(200, 10, generator=torch.Generator().manual_seed(0)) * torch.logspace(-3, 3, 10)
    basis = Basis(rows, 10)
    got = basis(rows)
    assert got.shape == (200, 10)
    assert float(got.square().sum(1).mean()) == pytest.approx(1, abs=0.02)


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


def test_networks_need_their_weights(tmp_path: object) -> None:
    assert len(STRIDES) == 16
    with pytest.raises(SfvError, match="--weights"):
        extractors(None)


def test_markdown_has_a_line_per_row() -> None:
    row = Measured("sticker:1", 1, 0.3, 0.1, 1.0, 1.0, 1.0, 0.5, 0.9, 1.1, 30.0, 0.2)
    text = markdown([row, row])
    assert text.count("\n") == 3 and "| sticker:1 | 1 | 0.30 | 0.10 |" in text


def test_bench_measures_ratios_in_the_same_round(tiny_folder: Path, tmp_path: Path) -> None:
    Image.new("RGB", (32, 32), "red").save(tmp_path / "red.png")
    names, file = (str(tiny_folder), str(tiny_folder)), tmp_path / "bench.json"
    text = bench(tmp_path / "red.png", names, Settings(steps=2), 3, file)
    result = json.loads(file.read_text())
    first, second = result["models"]
    assert first["calls"] == second["calls"] >= 2
    assert first["times"] == {"unet": 1.0, "total": 1.0}
    for m in (first, second):
        parts = sum(m["median"][k] for k in ("read", "encode", "unet", "decode", "write"))
        assert 0.5 * m["median"]["total"] < parts < 1.5 * m["median"]["total"]
        assert m["p95"]["total"] >= m["median"]["total"]
    assert len(text.splitlines()) == 4 and result["machine"]["threads"] >= 1


def test_bench_summaries_by_hand() -> None:
    taken = [{k: v for k in STAGES} | {"calls": 1} for v in (1.0, 10.0, 2.0, 30.0, 4.0, 16.0)]
    a, b = summaries([("a", ""), ("b", "")], taken)
    assert a["median"]["total"] == 2 and b["median"]["total"] == 16
    assert b["times"]["total"] == 10 and b["p95"]["unet"] == 30


def test_codec_alone_is_the_codec(tiny: VideoModel) -> None:
    clip = disc(1.0, tiny.defaults.frames)[:, :32, :32]
    with torch.inference_mode():
        pixels = clip.permute(0, 3, 1, 2)[None].float() / 127.5 - 1
        want = to_frames(tiny.codec.decode(tiny.codec.encode(pixels)))
    assert torch.equal(through_codec(tiny, [clip], "full")[0], want)
