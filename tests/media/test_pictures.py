"""Pictures as cameras, phones and broken tools leave them: turned, in wide colours, with damaged headers."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms

from sfv.errors import SfvError
from sfv.media import read_picture, read_sticker
from sfv.media.pictures import read_mask

P3 = ((0.5151, 0.2412, -0.0011), (0.2919, 0.6922, 0.0419), (0.1571, 0.0666, 0.7841))
"""Display P3's red, green and blue under D50, as CIE XYZ."""


def corner() -> Image.Image:
    """Two colours and a mark that tells all eight orientations apart."""
    pixels = np.full((12, 20, 3), 255, np.uint8)
    pixels[:3, :5] = (200, 0, 0)
    pixels[-4:, :2] = (0, 0, 200)
    return Image.fromarray(pixels)


def jpeg(*entries: bytes, extra: bytes = b"") -> bytes:
    """A JPEG with these raw EXIF entries."""
    out = io.BytesIO()
    corner().save(out, "JPEG", quality=100, subsampling=0)
    plain = out.getvalue()
    body = b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<H", len(entries)) + b"".join(entries) + b"\0\0\0\0" + extra
    return plain[:2] + b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body + plain[2:]


TURNED = struct.pack("<HHIHH", 0x112, 3, 1, 6, 0)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_all_eight_orientations(orientation: int) -> None:
    """Against the definition: row 0 and column 0 of what is stored lie on these sides of what is shown (EXIF 2.3)."""
    shown = np.asarray(corner()).astype(int)
    stored = {
        1: shown,
        2: shown[:, ::-1],
        3: shown[::-1, ::-1],
        4: shown[::-1],
        5: shown.transpose(1, 0, 2),
        6: np.rot90(shown, 1),
        7: np.rot90(shown, 2).transpose(1, 0, 2),
        8: np.rot90(shown, -1),
    }[orientation]
    exif, out = Image.Exif(), io.BytesIO()
    exif[0x112] = orientation
    Image.fromarray(stored.astype(np.uint8)).save(out, "PNG", exif=exif)
    assert np.array_equal(read_picture(io.BytesIO(out.getvalue())).numpy(), shown)


DAMAGE = {
    "a text that is a rational": (struct.pack("<HHII", 0x10F, 5, 1, 0), TURNED),
    "a resolution that is a text": (TURNED, struct.pack("<HHI4s", 0x11A, 2, 4, b"72\0\0")),
    "an offset beyond the end": (TURNED, struct.pack("<HHII", 0x10F, 2, 900, 60000)),
    "a type that is none": (TURNED, struct.pack("<HHII", 0x10F, 99, 1, 0)),
}


@pytest.mark.parametrize("entries", DAMAGE.values(), ids=DAMAGE)
def test_damaged_exif_with_good_pixels(entries: tuple[bytes, ...], tmp_path: Path) -> None:
    (tmp_path / "p.jpg").write_bytes(jpeg(*entries))
    got = read_picture(tmp_path / "p.jpg")
    assert got.shape == (20, 12, 3)  # what can be read of it counts: it is turned
    whole = jpeg(*entries)
    (tmp_path / "cut.jpg").write_bytes(whole[: len(whole) * 2 // 3])
    with pytest.raises(SfvError, match=r"cut.jpg cannot be decoded"):
        read_picture(tmp_path / "cut.jpg")


@pytest.mark.parametrize("share", [0.3, 0.5, 0.67, 0.9])
def test_a_picture_cut_short_is_one_sentence(share: float, tmp_path: Path) -> None:
    for format in ("AVIF", "WEBP", "PNG"):
        out = io.BytesIO()
        Image.effect_noise((64, 64), 90).convert("RGB").save(out, format)
        path = tmp_path / f"p.{format.lower()}"
        path.write_bytes(out.getvalue()[: int(share * len(out.getvalue()))])
        with pytest.raises(SfvError, match=path.name):
            read_picture(path)


def profile(primaries: tuple[tuple[float, float, float], ...], gamma: float) -> bytes:
    """A small ICC profile of three primaries and one gamma."""

    def fixed(v: float) -> bytes:
        return struct.pack(">i", round(v * 65536))

    def xyz(v: tuple[float, ...]) -> bytes:
        return b"XYZ \0\0\0\0" + b"".join(map(fixed, v))

    curve = b"curv\0\0\0\0" + struct.pack(">IH", 1, round(gamma * 256)) + b"\0\0"
    name = b"desc\0\0\0\0" + struct.pack(">I", 5) + b"wide\0" + b"\0" * 79
    tags = {b"desc": name, b"wtpt": xyz((0.9642, 1.0, 0.8249)), b"cprt": b"text\0\0\0\0none\0\0\0\0"}
    tags |= {b"rXYZ": xyz(primaries[0]), b"gXYZ": xyz(primaries[1]), b"bXYZ": xyz(primaries[2])}
    tags |= {b"rTRC": curve, b"gTRC": curve, b"bTRC": curve}
    table, data, at = b"", b"", 132 + 12 * len(tags)
    for key, value in tags.items():
        value += b"\0" * (-len(value) % 4)
        table += key + struct.pack(">II", at + len(data), len(value))
        data += value
    head = b"\0\0\0\0\x02\x40\0\0mntrRGB XYZ " + b"\0" * 12 + b"acsp" + b"\0" * 28
    head += fixed(0.9642) + fixed(1.0) + fixed(0.8249) + b"\0" * 48
    return struct.pack(">I", at + len(data)) + head + struct.pack(">I", len(tags)) + table + data


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_display_p3_becomes_srgb(mode: str, tmp_path: Path) -> None:
    """Against the matrices: a P3 colour inside sRGB's range, to two levels; alpha stays."""
    colour = np.array([180, 120, 90]) / 255
    xyz = np.array(P3).T @ colour**2.2
    to_srgb = np.linalg.inv(np.array([[0.4361, 0.3851, 0.1431], [0.2225, 0.7169, 0.0606], [0.0139, 0.0971, 0.7141]]))
    linear = to_srgb @ xyz
    want = 255 * np.where(linear > 0.0031308, 1.055 * linear ** (1 / 2.4) - 0.055, 12.92 * linear)
    picture = Image.new("RGB", (16, 16), (180, 120, 90))
    if mode == "RGBA":
        picture.putalpha(77)
    picture.save(tmp_path / "p3.png", icc_profile=profile(P3, 2.2))
    if mode == "RGBA":
        got = read_sticker(tmp_path / "p3.png")
        assert int(got[0, 0, 3]) == 77
    else:
        got = read_picture(tmp_path / "p3.png")
    assert np.abs(got[0, 0, :3].numpy() - want).max() <= 2 and np.abs(want - [180, 120, 90]).max() > 8


def test_srgbs_own_profile_and_damaged_ones_change_nothing(tmp_path: Path) -> None:
    plain = torch.from_numpy(np.asarray(corner()).copy())
    own = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for name, icc in (("srgb", own), ("cut", own[:100]), ("noise", b"not a profile")):
        corner().save(tmp_path / f"{name}.png", icc_profile=icc)
        assert torch.equal(read_picture(tmp_path / f"{name}.png"), plain)


def deep_grey(path: Path, clear: int | None) -> Path:
    """16-bit grey: a dark disc on a level that may be transparent."""
    y, x = np.mgrid[0:64, 0:64]
    grey = np.where((x - 32) ** 2 + (y - 32) ** 2 < 400, 20_000, 65_535).astype(np.uint16)
    Image.fromarray(grey).save(path)
    if clear is not None:
        data = path.read_bytes()
        chunk = b"tRNS" + struct.pack(">H", clear)
        at = data.index(b"IDAT") - 4
        path.write_bytes(data[:at] + struct.pack(">I", 2) + chunk + struct.pack(">I", zlib.crc32(chunk)) + data[at:])
    return path


def test_deep_grey_with_a_transparent_level(tmp_path: Path) -> None:
    sticker = read_sticker(deep_grey(tmp_path / "a.png", 65_535))
    assert sticker[32, 32].tolist() == [78, 78, 78, 255] and sticker[0, 0, 3] == 0
    assert read_picture(tmp_path / "a.png", "red")[0, 0].tolist() == [255, 0, 0]
    assert read_picture(deep_grey(tmp_path / "b.png", None), "red")[0, 0].tolist() == [255, 255, 255]
    with pytest.raises(SfvError, match="not transparent anywhere"):
        read_sticker(tmp_path / "b.png")


def test_a_sticker_without_anything_in_it_is_said(tmp_path: Path) -> None:
    Image.new("RGBA", (32, 32)).save(tmp_path / "clear.png")
    with pytest.raises(SfvError, match="clear.png is transparent everywhere: there is nothing to move"):
        read_sticker(tmp_path / "clear.png", opaque=True)


def test_a_picture_without_anything_in_it_is_said(tmp_path: Path) -> None:
    """It made a white clip."""
    for ending in ("png", "webp"):
        path = tmp_path / f"clear.{ending}"
        Image.new("RGBA", (32, 32)).save(path)
        with pytest.raises(SfvError, match=f"clear.{ending} is transparent everywhere: there is nothing to move"):
            read_picture(path)
    assert read_mask(path).max() == 0, "a mask on which nothing is painted"


@pytest.mark.parametrize(
    ("most", "middle"), [(1.0, 128), (1.5, 191), (200.0, 100), (255.0, 128), (65535.0, 128), (1e6, 128)]
)
def test_float_pictures_of_every_usual_scale(most: float, middle: int, tmp_path: Path) -> None:
    """TIFFs of 0-255 were white. Of 0-1, highlights may be brighter than white."""
    values = np.linspace(0, most, 65, dtype=np.float32)[None].repeat(16, 0)
    Image.fromarray(values).save(tmp_path / "a.tiff")
    shown = read_picture(tmp_path / "a.tiff")[0, :, 0]
    assert abs(int(shown[32]) - middle) <= 1 and shown[0] == 0
    assert shown[-1] == min(255, round(most)) if 16 < most <= 255 else shown[-1] == 255


@pytest.mark.parametrize("hot", [20, 300, 1e6, np.inf])
def test_one_hot_pixel_does_not_darken_a_float_picture(hot: float, tmp_path: Path) -> None:
    values = np.full((32, 32), 0.5, np.float32)
    values[3, 4] = hot
    Image.fromarray(values).save(tmp_path / "a.tiff")
    shown = read_picture(tmp_path / "a.tiff")
    assert shown[3, 4].tolist() == [255] * 3 and shown[0, 0].tolist() == [128] * 3


def test_heic_is_read_or_its_library_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pillow_heif").register_heif_opener()
    path = tmp_path / "photo.heic"
    corner().save(path, "HEIF", quality=95)
    assert read_picture(path).shape == (12, 20, 3)
    monkeypatch.setattr("sfv.media.pictures.admit_heif", lambda: False)
    monkeypatch.setattr(Image, "ID", [kind for kind in Image.ID if kind != "HEIF"])
    with pytest.raises(SfvError, match=r"photo.heic is a HEIC picture, which needs pillow-heif; .*sfv\[pictures\]"):
        read_picture(path)
