"""Colours of videos: what players show is what is read, and what is written."""

import io
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from av.video.reformatter import ColorRange, Colorspace, ColorTrc

from sfv.errors import SfvError
from sfv.media import read_clip, stream_video, write_clip
from sfv.media.video_colours import levels

BARS = np.array([(235, 30, 30), (30, 200, 40), (40, 50, 220), (230, 200, 160)], np.uint8)


def bars(side: int = 64) -> np.ndarray:
    return np.repeat(np.repeat(BARS[None], side, 0), side // 4, 1)


def middles(frame: np.ndarray) -> np.ndarray:
    step = frame.shape[1] // 4
    return frame[len(frame) // 2, step // 2 :: step].astype(int)


def video(path: Path, rgb: np.ndarray, matrix: int, tags: dict[str, int], pixels: str = "yuv444p") -> Path:
    """One frame, converted by `matrix`, with these tags."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.height, stream.width, stream.pix_fmt = *rgb.shape[:2], pixels
        stream.options = {"crf": "1"}
        for name, value in tags.items():
            setattr(stream.codec_context, name, value)
        frame = av.VideoFrame.from_ndarray(rgb, format="rgb48le" if rgb.dtype == np.uint16 else "rgb24")
        frame = frame.reformat(format=pixels, dst_colorspace=matrix, dst_color_range=ColorRange.MPEG)
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def test_a_clip_says_what_its_numbers_mean(tmp_path: Path) -> None:
    """Whatever a player believes of untagged files, this one says BT.709; and by BT.709 the colours are right."""
    write_clip(torch.from_numpy(bars())[None].repeat(2, 1, 1, 1), tmp_path / "c.mp4", 10)
    with av.open(str(tmp_path / "c.mp4")) as container:
        frame = next(container.decode(video=0))
    assert (frame.colorspace, frame.color_primaries, frame.color_trc, frame.color_range) == (1, 1, 1, 1)
    by_709 = frame.reformat(format="rgb24", src_colorspace=Colorspace.ITU709, src_color_range=ColorRange.MPEG)
    assert np.abs(middles(by_709.to_ndarray()) - BARS).max() <= 3
    assert np.abs(middles(read_clip(tmp_path / "c.mp4")[0].numpy()) - BARS).max() <= 3


@pytest.mark.parametrize(
    ("side", "matrix", "tag"),
    [
        (64, Colorspace.ITU601, 5),
        (64, Colorspace.ITU601, 6),
        (64, Colorspace.ITU709, 1),
        (64, Colorspace.ITU601, 2),
        (640, Colorspace.ITU709, 2),
    ],
    ids=["BT.601", "SMPTE 170M", "BT.709", "untagged, small", "untagged, high definition"],
)
def test_the_matrix_is_the_tags_or_what_players_take(side: int, matrix: int, tag: int, tmp_path: Path) -> None:
    path = video(tmp_path / "v.mp4", bars(side), matrix, {"colorspace": tag} if tag != 2 else {})
    ((_, picture),) = stream_video(path)
    assert np.abs(middles(picture.numpy()) - BARS).max() <= 3


def test_full_range_is_read_as_such(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "v.mkv"), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.height = stream.width = 64
        stream.pix_fmt, stream.options = "yuvj444p", {"crf": "1"}
        container.mux(stream.encode(av.VideoFrame.from_ndarray(bars(), format="rgb24")))
        container.mux(stream.encode())
    ((_, picture),) = stream_video(tmp_path / "v.mkv")
    assert np.abs(middles(picture.numpy()) - BARS).max() <= 3


def hlg(light: np.ndarray) -> np.ndarray:
    """ITU-R BT.2100, table 5: light of the scene in [0, 1] -> code."""
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    return np.where(light <= 1 / 12, np.sqrt(3 * light), a * np.log(np.maximum(12 * light - b, 1e-9)) + c)


def pq(nits: np.ndarray) -> np.ndarray:
    """SMPTE ST 2084, equation 5.2."""
    y = (np.asarray(nits) / 10000) ** 0.1593017578125
    return ((0.8359375 + 18.8515625 * y) / (1 + 18.6875 * y)) ** 78.84375


def code(colours: list[np.ndarray]) -> np.ndarray:
    """16-bit bars of four colours."""
    return np.repeat(np.repeat(np.rint(65535 * np.stack(colours))[None].astype(np.uint16), 64, 0), 16, 1)


REC2020_OF_709 = np.linalg.inv(
    np.array([[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]])
)
NITS = [0.0, 20.0, 203.0, 1000.0]
"""Black, a dark grey, paper white, a lamp."""


@pytest.mark.parametrize("name", ["pq", "hlg"])
def test_hdr_paper_stays_white_and_a_lamp_is_brighter(name: str, tmp_path: Path) -> None:
    one = np.ones(3)
    if name == "pq":
        transfer, colours = ColorTrc.SMPTE2084, [pq(n * one) for n in NITS]
    else:
        transfer, colours = ColorTrc.ARIB_STD_B67, [hlg((n / 1000) ** (1 / 1.2) * one) for n in NITS]
    tags = {"colorspace": 9, "color_primaries": 9, "color_trc": int(transfer), "color_range": 1}
    ((_, picture),) = stream_video(video(tmp_path / "v.mp4", code(colours), Colorspace.BT2020, tags, "yuv420p10le"))
    black, grey, paper, lamp = (int(v) for v in middles(picture.numpy())[:, 1])
    assert black <= 2 and grey == pytest.approx(89, abs=3), "20 of 203 candela is 0.0985 of white, 89 in sRGB"
    assert 240 <= paper < lamp <= 255


def test_hdr_colours_keep_their_hue(tmp_path: Path) -> None:
    """sRGB's colours at a third of paper white, in PQ and BT.2020's primaries, come back."""
    linear = np.where(BARS / 255 <= 0.04045, BARS / 255 / 12.92, ((BARS / 255 + 0.055) / 1.055) ** 2.4) * 0.6
    colours = [pq(203 * np.clip(REC2020_OF_709 @ c, 0, None)) for c in linear]
    tags = {"colorspace": 9, "color_primaries": 9, "color_trc": 16, "color_range": 1}
    ((_, picture),) = stream_video(video(tmp_path / "v.mp4", code(colours), Colorspace.BT2020, tags, "yuv420p10le"))
    shown = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055) * 255
    assert np.abs(middles(picture.numpy()) - shown).max() <= 6


def test_display_p3_is_narrowed(tmp_path: Path) -> None:
    """P3's pure red is past sRGB's; a P3 grey is the same grey."""
    rgb = bars()
    rgb[:, :16], rgb[:, 16:32] = (255, 0, 0), (128, 128, 128)
    tags = {"colorspace": 1, "color_primaries": 12, "color_trc": 1, "color_range": 1}
    ((_, picture),) = stream_video(video(tmp_path / "v.mp4", rgb, Colorspace.ITU709, tags))
    got = middles(picture.numpy())
    assert got[0, 0] == 255 and got[0, 1] <= 3 and np.abs(got[1] - 128).max() <= 3
    assert got[2, 2] > 220 + 5, "P3's blue is stronger than sRGB's of the same number"


def test_colours_that_are_not_read_are_refused_with_a_sentence() -> None:
    frame = av.VideoFrame.from_ndarray(bars(), format="rgb24").reformat(format="yuv420p")
    frame.colorspace = 14
    with pytest.raises(SfvError, match="phone.mov has colours of a kind that is not read"):
        levels(frame, "phone.mov")


def test_pictures_in_a_webm_with_an_rgb_matrix(tmp_path: Path) -> None:
    """Lossless RGB has no matrix."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="matroska") as container:
        stream = container.add_stream("libx264rgb", rate=10)
        stream.height = stream.width = 64
        stream.pix_fmt, stream.options = "rgb24", {"crf": "0"}
        container.mux(stream.encode(av.VideoFrame.from_ndarray(bars(), format="rgb24")))
        container.mux(stream.encode())
    ((_, picture),) = stream_video(buffer.getvalue())
    assert np.abs(middles(picture.numpy()) - BARS).max() <= 1
