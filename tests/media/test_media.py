"""Pictures in, clips out: every kind of file people have, and every way it can be broken."""

import io
import json
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from sfv.errors import SfvError
from sfv.measures.video import psnr
from sfv.media import (
    contact_sheet,
    fit,
    from_note,
    read_clip,
    read_note,
    read_picture,
    replacing,
    side_by_side,
    to_note,
    write_clip,
)


def gradient(height: int = 40, width: int = 60) -> np.ndarray:
    y, x = np.mgrid[0:height, 0:width]
    return np.stack([x * 255 // width, y * 255 // height, (x + y) % 256], -1).astype(np.uint8)


def save(path: Path, image: Image.Image, **options: object) -> Path:
    image.save(path, **options)
    return path


def test_alpha_lies_over_the_background(tmp_path: Path) -> None:
    rgba = np.zeros((16, 16, 4), np.uint8)
    rgba[:8] = (255, 0, 0, 255)
    path = save(tmp_path / "a.png", Image.fromarray(rgba))
    assert read_picture(path)[12, 0].tolist() == [255, 255, 255]
    assert read_picture(path)[0, 0].tolist() == [255, 0, 0]
    assert read_picture(path, "#00ff00")[12, 0].tolist() == [0, 255, 0]


def test_palette_with_transparency(tmp_path: Path) -> None:
    image = Image.fromarray(gradient()).quantize(8)
    path = save(tmp_path / "p.gif", image, transparency=image.getpixel((0, 0)))
    assert read_picture(path)[0, 0].tolist() == [255, 255, 255]


def test_sixteen_bit_grey_is_scaled_not_clipped(tmp_path: Path) -> None:
    values = np.linspace(0, 65535, 256).reshape(16, 16).astype(np.uint16)
    grey = read_picture(save(tmp_path / "g.png", Image.fromarray(values)))[..., 0]
    assert grey.flatten().tolist() == list(range(256))


def test_cmyk_jpeg(tmp_path: Path) -> None:
    image = Image.new("CMYK", (16, 16), (0, 255, 255, 0))
    red = read_picture(save(tmp_path / "c.jpg", image))[8, 8].tolist()
    assert red[0] > 180 and max(red[1:]) < 90


def test_exif_rotation_is_undone(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    path = save(tmp_path / "r.jpg", Image.fromarray(gradient(16, 32)), exif=exif)
    assert read_picture(path).shape == (32, 16, 3)


def test_animated_gif_gives_its_first_frame(tmp_path: Path) -> None:
    first, second = (Image.new("RGB", (16, 16), c) for c in ("red", "blue"))
    path = save(tmp_path / "m.gif", first, save_all=True, append_images=[second])
    assert read_picture(path)[0, 0, 0] > 200


@pytest.mark.parametrize("ending", ["webp", "avif", "bmp", "tiff"])
def test_other_common_kinds(tmp_path: Path, ending: str) -> None:
    path = save(tmp_path / f"x.{ending}", Image.fromarray(gradient()))
    assert read_picture(path).shape == (40, 60, 3)


def test_bad_pictures_say_what_is_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = save(tmp_path / "whole.png", Image.fromarray(gradient(200, 200))).read_bytes()
    cases = {
        "missing.png": (None, "does not exist"),
        "zero.png": (b"", "not a picture"),
        "text.png": (b"hello there", "not a picture"),
        "cut.png": (whole[: len(whole) // 3], "cannot be decoded"),
    }
    for name, (data, says) in cases.items():
        if data is not None:
            (tmp_path / name).write_bytes(data)
        with pytest.raises(SfvError, match=says) as error:
            read_picture(tmp_path / name)
        assert name in str(error.value)
    save(tmp_path / "dot.png", Image.new("RGB", (1, 1)))
    with pytest.raises(SfvError, match="at least 8 pixels"):
        read_picture(tmp_path / "dot.png")
    with pytest.raises(SfvError, match="folder"):
        read_picture(tmp_path)
    with pytest.raises(SfvError, match="not a colour"):
        read_picture(save(tmp_path / "t.png", Image.new("RGBA", (16, 16), (9, 9, 9, 9))), "blurple")


def test_a_decompression_bomb_is_refused_before_decoding(tmp_path: Path) -> None:
    import zlib

    def chunk(kind: bytes, data: bytes) -> bytes:
        return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")

    header = (60_000).to_bytes(4, "big") * 2 + b"\x08\x02\x00\x00\x00"
    bomb = (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0" * 10_000))
        + chunk(b"IEND", b"")
    )
    (tmp_path / "bomb.png").write_bytes(bomb)
    with pytest.raises(SfvError, match="pixels"):
        read_picture(tmp_path / "bomb.png")


@given(st.integers(8, 90), st.integers(8, 90), st.sampled_from(["pad", "crop"]))
@settings(max_examples=30, deadline=None)
def test_fit_never_stretches(height: int, width: int, how: str) -> None:
    """A disc stays a disc: its height and width after fitting differ by at most two pixels."""
    y, x = np.mgrid[0:height, 0:width]
    radius = min(height, width) / 3
    disc = ((y - height / 2 + 0.5) ** 2 + (x - width / 2 + 0.5) ** 2) < radius**2
    picture = torch.from_numpy(np.where(disc[..., None], 0, 255).astype(np.uint8).repeat(3, -1))
    out = fit(picture, 64, 64, how)
    assert out.shape == (64, 64, 3)
    dark = out[..., 0] < 128
    assert abs(int(dark.any(0).sum()) - int(dark.any(1).sum())) <= 64 / min(height, width) + 2


def test_a_picture_survives_as_a_note() -> None:
    picture = torch.from_numpy(gradient())
    assert torch.equal(from_note(to_note(picture)), picture)


def moving(frames: int = 6, side: int = 32) -> torch.Tensor:
    base = torch.full((frames, side, side, 3), 255, dtype=torch.uint8)
    for i in range(frames):
        base[i, 8:20, 2 + 3 * i : 12 + 3 * i] = torch.tensor([200, 40, 60], dtype=torch.uint8)
    return base


@pytest.mark.parametrize("ending", ["mp4", "gif", "webp", "png"])
def test_clips_come_back_with_their_note(tmp_path: Path, ending: str) -> None:
    frames, path = moving(), tmp_path / f"clip.{ending}"
    note = json.dumps({"seed": 3, "picture": "x" * 5000, "text": "żółw"})
    write_clip(frames, path, 12, note)
    assert read_note(path) == note
    back = read_clip(path)
    assert back.shape == frames.shape
    assert psnr(back, frames) > 28
    assert list(tmp_path.iterdir()) == [path]


def test_mp4_plays_in_a_browser(tmp_path: Path) -> None:
    """H.264, yuv420p, the index before the data; odd sides are made even."""
    path = tmp_path / "c.mp4"
    write_clip(moving(side=33), path, 12)
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert (stream.width, stream.height, float(stream.average_rate or 0)) == (34, 34, 12.0)
    data = path.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")


def test_notes_of_foreign_files(tmp_path: Path) -> None:
    with pytest.raises(SfvError, match="no sfv parameters"):
        read_note(save(tmp_path / "x.png", Image.fromarray(gradient())))
    with pytest.raises(SfvError, match="does not exist"):
        read_note(tmp_path / "none.mp4")
    (tmp_path / "bad.mp4").write_bytes(b"nonsense")
    with pytest.raises(SfvError, match="cannot be read"):
        read_note(tmp_path / "bad.mp4")


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "keep.txt"
    path.write_text("old")
    with pytest.raises(RuntimeError), replacing(path) as beside:
        beside.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_sheets_have_the_expected_shape() -> None:
    row = side_by_side([("a", moving()), ("b", moving())], times=2, gap=8)
    assert row.shape == (6, 64 + 22, 2 * 64 + 3 * 8, 3)
    sheet = contact_sheet([("a", moving())], every=2)
    assert sheet.shape == (22 + 36, 3 * 36, 3)


def test_pictures_from_memory() -> None:
    buffer = io.BytesIO()
    Image.fromarray(gradient()).save(buffer, "PNG")
    buffer.seek(0)
    assert read_picture(buffer).shape == (40, 60, 3)
