"""Feature networks: pre-processing against references written from scratch, networks against closed forms."""

import hashlib
import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from sfv.errors import SfvError
from sfv.evaluation.features import extractors, i3d
from sfv.evaluation.features.efficientnet import STRIDES
from sfv.evaluation.features.i3d import SCRIPT, logits, open_i3d, preprocess
from sfv.evaluation.features.lpips import lpips
from sfv.evaluation.features.videomae import open_videomae
from sfv.evaluation.features.weights import checked
from sfv.evaluation.protocol import read_protocol


def noise(frames: int, height: int, width: int) -> torch.Tensor:
    g = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (frames, height, width, 3), generator=g).to(torch.uint8)


def bilinear(line: list[float], size: int) -> list[float]:
    """Half-pixel centres, the edge held, no antialiasing."""
    out = []
    for i in range(size):
        at = min(max((i + 0.5) * len(line) / size - 0.5, 0), len(line) - 1)
        low = math.floor(at)
        high = min(low + 1, len(line) - 1)
        out.append(line[low] + (at - low) * (line[high] - line[low]))
    return out


@pytest.mark.parametrize(("height", "width"), [(240, 320), (128, 128)])
def test_i3d_sees_what_the_protocol_says(height: int, width: int) -> None:
    clip = noise(2, height, width)
    got = preprocess(clip)
    assert got.shape == (1, 3, 2, 224, 224)
    for frame, channel in ((0, 0), (1, 2)):
        rows = [bilinear(r, 224) for r in clip[frame, :, :, channel].double().tolist()]
        columns = [bilinear(list(c), 224) for c in zip(*rows, strict=True)]
        want = torch.tensor(columns, dtype=torch.float64).T * 2 / 255 - 1
        assert (got[0, channel, frame] - want).abs().max() < 1e-4  # of 2; positions are float32


WIDTHS = {
    "3b": (192, (64, 96, 128, 16, 32, 32)),
    "3c": (256, (128, 128, 192, 32, 96, 64)),
    "4b": (480, (192, 96, 208, 16, 48, 64)),
    "4c": (512, (160, 112, 224, 24, 64, 64)),
    "4d": (512, (128, 128, 256, 24, 64, 64)),
    "4e": (512, (112, 144, 288, 32, 64, 64)),
    "4f": (528, (256, 160, 320, 32, 128, 128)),
    "5b": (832, (256, 160, 320, 32, 128, 128)),
    "5c": (832, (384, 192, 384, 48, 128, 128)),
}
"""Inception-v1's widths (1409.4842, Table 1), inflated."""


def random_i3d() -> dict[str, torch.Tensor]:
    g, w = torch.Generator().manual_seed(0), {}

    def unit(at: str, before: int, after: int, k: int) -> None:
        fan = before * k**3
        w[f"{at}.conv3d.weight"] = torch.randn(after, before, k, k, k, generator=g) * (2 / fan) ** 0.5
        for name, value in (("weight", 1.0), ("bias", 0.1), ("running_mean", 0.0), ("running_var", 1.0)):
            w[f"{at}.bn.{name}"] = torch.full((after,), value)

    unit("Conv3d_1a_7x7", 3, 64, 7)
    unit("Conv3d_2b_1x1", 64, 64, 1)
    unit("Conv3d_2c_3x3", 64, 192, 3)
    for name, (before, (a, b0, b1, c0, c1, d)) in WIDTHS.items():
        at = f"Mixed_{name}"
        for part, i, o, k in (
            ("b0", before, a, 1),
            ("b1a", before, b0, 1),
            ("b1b", b0, b1, 3),
            ("b2a", before, c0, 1),
            ("b2b", c0, c1, 3),
            ("b3b", before, d, 1),
        ):
            unit(f"{at}.{part}", i, o, k)
    w["logits.conv3d.weight"] = torch.randn(400, 1024, 1, 1, 1, generator=g) / 32
    w["logits.conv3d.bias"] = torch.zeros(400)
    return w


def test_i3d_runs_from_safetensors_and_needs_nine_frames(tmp_path: Path) -> None:
    w = random_i3d()
    assert sum(v.numel() for k, v in w.items() if "running" not in k) == 12_697_264
    save_file(w, tmp_path / "i3d.safetensors")
    row = open_i3d(tmp_path / "i3d.safetensors")
    a = row(noise(9, 32, 32))
    assert a.shape == (400,) and a.isfinite().all() and not torch.equal(a, row(noise(10, 32, 32)[1:]))
    with pytest.raises(SfvError, match="at least 9 frames"):
        row(noise(8, 32, 32))
    x = preprocess(noise(9, 32, 32))
    assert torch.allclose(logits(x, w)[0], a, atol=1e-4)


def test_a_torchscript_file_must_be_the_known_one(tmp_path: Path) -> None:
    (tmp_path / SCRIPT).write_bytes(b"anything")
    with pytest.raises(SfvError, match="has SHA-256 .* the protocol wants bec6519f"):
        extractors(read_protocol("ucf101"), tmp_path)
    with pytest.raises(SfvError, match="the protocol wants bec6519f"):
        open_i3d(tmp_path / SCRIPT)
    assert checked(tmp_path / SCRIPT, None) == hashlib.sha256(b"anything").hexdigest()


class Detector(torch.nn.Module):
    """The shared file's way of being called."""

    def forward(self, x: torch.Tensor, rescale: bool, resize: bool, return_features: bool) -> torch.Tensor:
        assert not rescale and not resize and return_features
        return x.mean(dim=[3, 4]).flatten(1)


@pytest.mark.filterwarnings("ignore")
def test_the_known_torchscript_file_is_given_prepared_clips(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.jit.script(Detector()).save(str(tmp_path / SCRIPT))
    monkeypatch.setattr(i3d, "SCRIPT_SHA256", checked(tmp_path / SCRIPT, None))
    clip = noise(9, 40, 60)
    got = open_i3d(tmp_path / SCRIPT)(clip)
    assert torch.allclose(got, preprocess(clip).mean((3, 4)).flatten(), atol=1e-5)


def test_networks_need_their_weights(tmp_path: Path) -> None:
    assert len(STRIDES) == 16
    with pytest.raises(SfvError, match="--weights .*efficientnet_lite0_fp16.safetensors is not there"):
        extractors(read_protocol("sticker"), tmp_path)
    assert set(extractors(read_protocol("offline"), None)) == {"recogniser"}


def test_videomae_from_a_transformers_folder(tmp_path: Path) -> None:
    from transformers import VideoMAEConfig, VideoMAEModel

    sizes = {"image_size": 32, "patch_size": 16, "num_frames": 4, "hidden_size": 16, "intermediate_size": 16}
    torch.manual_seed(0)
    VideoMAEModel(VideoMAEConfig(num_hidden_layers=1, num_attention_heads=2, **sizes)).save_pretrained(tmp_path / "v")
    row = open_videomae(tmp_path / "v")
    clip = noise(14, 48, 40)
    assert row(clip).shape == (16,)
    assert torch.equal(row(clip), row(clip[[0, 4, 9, 13]]))
    assert not torch.equal(row(clip), row(clip.flip(0)))
    with pytest.raises(SfvError, match="not a VideoMAE folder"):
        open_videomae(tmp_path)


def test_lpips_is_zero_for_equals_and_a_weighted_distance_otherwise() -> None:
    g = torch.Generator().manual_seed(0)
    shapes = [(64, 3, 11), (192, 64, 5), (384, 192, 3), (256, 384, 3), (256, 256, 3)]
    w = {}
    for i, (after, before, k) in enumerate(shapes):
        w[f"conv{i}.weight"] = torch.randn(after, before, k, k, generator=g) * (2 / before / k**2) ** 0.5
        w[f"conv{i}.bias"] = torch.zeros(after)
        w[f"lin{i}.weight"] = torch.rand(1, after, 1, 1, generator=g)
    a, b = noise(3, 64, 64), noise(4, 64, 64)[1:]
    assert lpips(a, a, w).tolist() == [0, 0, 0]
    far = lpips(a, b, w)
    assert far.shape == (3,) and float(far.min()) > 0
    assert torch.allclose(lpips(a, b[:1], w)[0], far[0], rtol=1e-4)
    twice = w | {k: 2 * v for k, v in w.items() if k.startswith("lin")}
    assert torch.allclose(lpips(a, b, twice), 2 * far, rtol=1e-5)
