"""Triton's kernels in its interpreter against float64, and a whole small SVD through them against itself without."""

import importlib.util
import os
import re
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import wiggle
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from sfv import kernels
from sfv.costs.roofline import Ceilings, Roofline
from sfv.families.base import VideoModel
from sfv.families.load import for_gpu, rewritten, staged, staged_pictures
from sfv.families.svd.sizes import TINY, new_model

if importlib.util.find_spec("triton") is None:
    pytest.skip('Triton is not installed (pip install "sfv[kernels]")', allow_module_level=True)

from sfv.kernels import geglu, group_norm_silu, scaled_softmax, temporal_attention  # noqa: E402
from sfv.speed import backends

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
KINDS = {torch.float32: 2e-6, torch.bfloat16: 4e-3, torch.float16: 5e-4}
"""Precision -> the relative error stated for it."""


def off(got: Tensor, want: Tensor) -> float:
    error = float((got.double() - want).norm() / want.norm())
    assert error == error
    return error


def drawn(*shape: int, kind: torch.dtype, seed: int = 0) -> Tensor:
    rng = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=rng, dtype=torch.float64).to(DEVICE, kind)


def norm_inputs(kind: torch.dtype, shape: tuple[int, ...], shift: float) -> tuple[Tensor, Tensor, Tensor]:
    x = (drawn(*shape, kind=torch.float64) * 3 + shift).to(kind).contiguous(memory_format=torch.channels_last)
    w, b = (drawn(shape[1], kind=kind, seed=s) for s in (1, 2))
    return x, w, b


@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize(("shape", "silu"), [((2, 64, 5, 7), True), ((1, 96, 14, 16), False), ((1, 320, 9, 4), True)])
def test_group_norm_silu(kind: torch.dtype, silu: bool, shape: tuple[int, ...]) -> None:
    x, w, b = norm_inputs(kind, shape, 1.0)
    want = group_norm_silu.reference(x.double(), 32, w.double(), b.double(), 1e-6, silu)
    got = group_norm_silu.group_norm_silu(x, 32, w, b, 1e-6, silu)
    assert got.dtype == kind and got.stride() == x.stride() and off(got, want) <= KINDS[kind]


def test_group_norm_joins_many_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small tiles, so that stretches, tiles and parts all end in the middle of something."""
    monkeypatch.setattr(group_norm_silu, "TILE", 256)
    for programs, joined in ((1, 8), (3, 64), (2048, 1)):
        monkeypatch.setattr(group_norm_silu, "JOINED", joined)
        monkeypatch.setattr(group_norm_silu, "PROGRAMS", programs)
        x, w, b = norm_inputs(torch.float32, (2, 32, 3, 37), -2.0)
        want = group_norm_silu.reference(x.double(), 32, w.double(), b.double(), 1e-5, True)
        assert off(group_norm_silu.group_norm_silu(x, 32, w, b, 1e-5, True), want) <= 2e-6


def test_group_norm_far_from_zero() -> None:
    """A mean of 3000 spreads: a sum of squares in float32 would leave nothing of the variance.

    What is left is the rounding of the given numbers' own mean, 3e-4 of a spread here.
    """
    x, w, b = norm_inputs(torch.float32, (1, 64, 11, 13), 9000.0)
    want = group_norm_silu.reference(x.double(), 32, w.double(), b.double(), 1e-6, True)
    assert off(group_norm_silu.group_norm_silu(x, 32, w, b, 1e-6, True), want) <= 3e-4


@pytest.mark.parametrize(("kind", "most"), [(torch.float32, 2e-6), (torch.bfloat16, 8e-3), (torch.float16, 1e-3)])
@pytest.mark.parametrize(("b", "t", "s", "heads", "d"), [(1, 14, 6, 2, 64), (2, 25, 3, 1, 32), (1, 4, 2, 2, 16)])
def test_temporal_attention(kind: torch.dtype, most: float, b: int, t: int, s: int, heads: int, d: int) -> None:
    q, k, v = (drawn(b * t, s, heads * d, kind=kind, seed=i) for i in range(3))
    want = temporal_attention.reference(q.double(), k.double(), v.double(), t, heads)
    assert off(temporal_attention.temporal_attention(q, k, v, t, heads), want) <= most


def test_temporal_attention_reads_one_fused_projection() -> None:
    """Views of (b * t, s, 3 c) have other strides than the result."""
    whole = drawn(14, 5, 3 * 64, kind=torch.float32)
    q, k, v = whole.chunk(3, -1)
    want = temporal_attention.reference(q.double(), k.double(), v.double(), 14, 2)
    assert off(temporal_attention.temporal_attention(q, k, v, 14, 2), want) <= 2e-6


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_geglu(kind: torch.dtype) -> None:
    x = drawn(3, 41, 2 * 48, kind=kind)
    assert off(geglu.geglu(x), geglu.reference(x.double())) <= KINDS[kind]


def test_the_ops_are_well_formed() -> None:
    """What torch.compile relies on: schemas, shapes and strides without data."""
    x, w, b = norm_inputs(torch.float32, (1, 32, 3, 4), 0.0)
    tests = ("test_schema", "test_faketensor")
    torch.library.opcheck(group_norm_silu.group_norm_silu, (x, 32, w, b, 1e-6, True), test_utils=tests)
    q = drawn(4, 2, 32, kind=torch.float32)
    torch.library.opcheck(temporal_attention.temporal_attention, (q, q + 1, q - 1, 4, 2), test_utils=tests)
    torch.library.opcheck(geglu.geglu, (q,), test_utils=tests)
    assert "triton" in sys.modules


def test_scaled_softmax() -> None:
    x = drawn(5, 77, kind=torch.float32) * 9
    want = scaled_softmax.reference(x.double(), 0.3, torch.float64)
    for kind, most in KINDS.items():
        assert off(scaled_softmax.scaled_softmax(x, 0.3, kind), want) <= most


@pytest.fixture(scope="module")
def wide() -> VideoModel:
    """A small SVD whose autoencoder attends with one head of 288 channels, too wide for flash kernels."""
    plan = replace(TINY, size=8, frames=2, codec_channels=(32, 288))
    return wiggle(new_model(plan, 0))


def test_a_whole_small_svd(wide: VideoModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """Denoiser, decoder and encoder in float32: every kernel is called, and the numbers are the rewritten model's."""
    monkeypatch.setattr(group_norm_silu, "JOINED", 32)  # the interpreter takes milliseconds for every program
    plain = rewritten(wide)
    ours = for_gpu(plain)
    called: Counter[str] = Counter()
    with torch.inference_mode(), Calls(called):
        made = everything(ours)
    want = everything(rewritten(wide))
    for got, right in zip(made, want, strict=True):
        assert off(got, right.double()) <= 1e-5
    assert set(called) == {"group_norm_silu", "temporal_attention", "geglu", "scaled_softmax"}
    with torch.inference_mode():
        assert all(torch.equal(a, b) for a, b in zip(everything(plain), want, strict=True))


@torch.inference_mode()
def everything(model: VideoModel) -> list[Tensor]:
    """One network call, its frames, and a picture's condition."""
    rng = torch.Generator().manual_seed(5)
    cond = model.conditioner(torch.rand(1, 3, 8, 8, generator=rng) * 2 - 1)
    x = torch.randn(1, 2, 4, 4, 4, generator=rng) * 200
    latents = model.denoiser(x, torch.tensor([200.0]), cond)
    return [latents, model.codec.decode(latents), cond["image_latents"]]


class Calls(TorchDispatchMode):
    """Counts our operators by name."""

    def __init__(self, called: Counter[str]) -> None:
        super().__init__()
        self.called = called

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.namespace == "sfv":
            self.called[func._schema.name.removeprefix("sfv::")] += 1
        return func(*args, **(kwargs or {}))


COMPILED = {
    "denoiser": {"FoldedResBlock", "FramewiseTransformer", "WovenUpsample"},
    "codec": {"EncoderBlock", "BlendedResBlock", "WovenUpsample"},
}
"""Classes of blocks that are compiled on a GPU."""


@pytest.mark.slow
def test_blocks_compile_whole(wide: VideoModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every block is one graph for torch.compile, kernels and all: no breaks, the same numbers."""
    from sfv.speed.cuda import compile_regions, many_sizes

    monkeypatch.setattr(group_norm_silu, "JOINED", 32)
    ours, again = for_gpu(rewritten(wide)), for_gpu(rewritten(wide))
    with torch.inference_mode(), many_sizes(True):
        for part, want in ((again.denoiser, COMPILED["denoiser"]), (again.codec, COMPILED["codec"])):
            blocks = [type(m).__name__ for m in part.modules() if getattr(type(m), "regions", ())]
            assert set(blocks) == want
            assert compile_regions(part, backend="eager", fullgraph=True) == len(blocks)
        for got, want in zip(everything(again), everything(ours), strict=True):
            assert off(got, want.double()) <= 1e-6
    torch.compiler.reset()


def test_they_compile_for_an_h100_without_one() -> None:
    """No spilled registers, nearly every access to memory of 16 bytes."""
    program = Path(__file__).parent.parent.parent / "runs" / "full_size" / "kernel_resources.py"
    told = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    done = subprocess.run([sys.executable, program], capture_output=True, text=True, check=False, env=told)
    assert done.returncode == 0, done.stderr
    rows = [dict(re.findall(r"(\w+) (\d+)", line.split(": ")[-1])) for line in done.stdout.splitlines()]
    assert len(rows) == 7 and all(r["stack"] == "0" for r in rows)
    assert all(int(r["wide"]) >= 0.6 * int(r["accesses"]) for r in rows)


def test_the_roofline_counts_them() -> None:
    """Attention over time is arithmetic and traffic; what is pointwise is free."""
    q = drawn(8, 3, 32, kind=torch.float32)
    with torch.inference_mode(), Roofline(Ceilings(1.0, 1e9, 1.0)) as counted:
        geglu.geglu(temporal_attention.temporal_attention(q, q, q, 4, 2))
    assert counted.flops == 2 * 2 * 4 * q.numel() and counted.bytes == 4 * 4 * q.numel()


def test_every_stage_can_be_wrapped_as_on_a_gpu(wide: VideoModel) -> None:
    """Five networks, the same numbers; an encoder that is cast for every call stays as it is."""
    from sfv.speed.cuda import OnGPU

    seen: list[str] = []

    def wrap(stage: str, network: torch.nn.Module) -> OnGPU:
        seen.append(stage)
        return OnGPU(network, compiled=False, graphs=False)

    plain = rewritten(wide)
    quick = staged(staged_pictures(plain, wrap), wrap)
    assert seen == ["encode", "picture", "unet", "decode-full"]
    for got, want in zip(everything(quick), everything(plain), strict=True):
        assert off(got, want.double()) <= 1e-5
    half = rewritten(wide)
    vae = half.codec.vae.half()
    vae.config = vae.config.model_copy(update={"force_upcast": True})
    seen.clear()
    staged_pictures(half, wrap)
    assert seen == ["picture"]


def test_where_they_cannot_run_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu = torch.device("cpu")
    assert "is for NVIDIA GPUs, not cpu" in backends.refusal("graphs", cpu)
    monkeypatch.setenv("TRITON_INTERPRET", "0")
    assert kernels.refusal(cpu) == "kernels are for GPUs, not cpu"
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    assert kernels.refusal(cpu) == 'kernels need Triton: pip install "sfv[kernels]"'
