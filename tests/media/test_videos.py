"""Videos of every bad and odd kind, and resampling by hand."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sfv.errors import SfvError
from sfv.media import DamagedVideo, at_rate, stream_video


def grey(value: int) -> torch.Tensor:
    return torch.full((2, 2, 3), value, dtype=torch.uint8)


def values(pictures: object) -> list[int]:
    return [int(p[0, 0, 0]) for p in pictures]  # type: ignore[attr-defined]


def make(path: Path, times: list[float], size: tuple[int, int] = (32, 48)) -> Path:
    """A lossless-enough video whose frame i is grey 10 * i, shown at times[i]."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=1000)
        stream.height, stream.width, stream.pix_fmt, stream.time_base = *size, "yuv420p", Fraction(1, 1000)
        stream.options = {"crf": "0"}
        for i, t in enumerate(times):
            frame = av.VideoFrame.from_ndarray(np.full((*size, 3), 10 * i, np.uint8), format="rgb24")
            frame.pts, frame.time_base = round(1000 * t), Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def test_a_steady_video_is_thinned_by_time() -> None:
    frames = [(i / 30, grey(i)) for i in range(60)]
    assert values(at_rate(frames, 10)) == [0, 3, 6, 9, 12, 15, 18, 21, 24, 27, 30, 33, 36, 39, 42, 45, 48, 51, 54, 57]
    assert len(list(at_rate(frames, 7))) == 14


def test_a_variable_rate_shows_what_a_player_shows() -> None:
    frames = [(0.0, grey(0)), (0.1, grey(1)), (0.5, grey(2)), (0.55, grey(3))]
    assert values(at_rate(frames, 10)) == [0, 1, 1, 1, 1, 2]


def test_one_frame_is_shown_once() -> None:
    assert values(at_rate([(0.0, grey(7))], 24)) == [7]
    assert values(at_rate([], 24)) == []


@given(st.lists(st.floats(0.01, 0.5), min_size=2, max_size=30), st.floats(1, 60))
@settings(max_examples=100, deadline=None)
def test_resampling_keeps_time(gaps: list[float], fps: float) -> None:
    times = np.cumsum([0, *gaps])
    frames = [(float(t), grey(i)) for i, t in enumerate(times)]
    got = values(at_rate(frames, fps))
    for k, value in enumerate(got):
        assert times[value] <= k / fps + 1e-5
        assert value + 1 == len(times) or times[value + 1] >= k / fps - 1e-5
    assert abs(len(got) - fps * (times[-1] + gaps[-1])) <= 1.01


def test_times_are_the_files_own(tmp_path: Path) -> None:
    times = [0.0, 0.04, 0.2, 0.24, 0.9]
    got = list(stream_video(make(tmp_path / "v.mp4", times)))
    assert [t for t, _ in got] == pytest.approx(times, abs=2e-3)
    assert [abs(int(p[3, 3, 1]) - 10 * i) <= 3 for i, (_, p) in enumerate(got)] == [True] * 5
    assert got[0][1].shape == (32, 48, 3)
    assert len(list(stream_video((tmp_path / "v.mp4").read_bytes()))) == 5


def test_a_truncated_video_gives_its_good_frames(tmp_path: Path) -> None:
    path = tmp_path / "v.mkv"
    rng = np.random.default_rng(0)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.height, stream.width, stream.pix_fmt = 64, 64, "yuv420p"
        for _ in range(20):
            noise = rng.integers(0, 255, (64, 64, 3), dtype=np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(noise, format="rgb24")))
        container.mux(stream.encode())
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    got = []
    try:
        for _, picture in stream_video(path):
            got.append(picture)
    except DamagedVideo as error:
        assert "cut off" in str(error)
    assert 3 < len(got) < 15


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("zero.mp4", b"", "is empty"),
        ("text.mp4", b"not a video at all" * 20, "not a readable video"),
        ("half.mp4", None, "damaged|not a readable"),
    ],
)
def test_what_is_no_video_says_so(tmp_path: Path, name: str, content: bytes | None, says: str) -> None:
    path = tmp_path / name
    if content is None:
        whole = make(path, [i / 10 for i in range(10)]).read_bytes()
        content = whole[: len(whole) // 2]
    path.write_bytes(content)
    with pytest.raises(SfvError, match=says):
        list(stream_video(path))
    with pytest.raises(SfvError, match="does not exist"):
        list(stream_video(tmp_path / "none.mp4"))


def test_sound_alone_is_no_video(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=44100)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 44100), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 44100
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    with pytest.raises(SfvError, match="holds no video"):
        list(stream_video(path))


def turned(path: Path, degrees: int) -> Path:
    """Rewrite an mp4's track matrix so that players turn it clockwise, as phones do (ISO 14496-12, 8.3.2)."""
    one, minus = 0x00010000, 0xFFFF0000
    a, b, c, d = {90: (0, one, minus, 0), 180: (minus, 0, 0, minus), 270: (0, minus, one, 0)}[degrees]
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 4 + 40
    data[at : at + 36] = b"".join(v.to_bytes(4, "big") for v in (a, b, 0, c, d, 0, 0, 0, 0x40000000))
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(("degrees", "corner"), [(90, (0, -1)), (180, (-1, -1)), (270, (-1, 0))])
def test_phones_videos_stand_upright(tmp_path: Path, degrees: int, corner: tuple[int, int]) -> None:
    """A white upper left corner goes where a player that obeys the file shows it."""
    path = tmp_path / "phone.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.height, stream.width, stream.pix_fmt = 32, 64, "yuv420p"
        picture = np.zeros((32, 64, 3), np.uint8)
        picture[:16, :32] = 255
        for _ in range(3):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    frames = [f for _, f in stream_video(turned(path, degrees))]
    assert len(frames) == 3 and frames[0].shape == ((32, 64, 3) if degrees == 180 else (64, 32, 3))
    four = {(y, x): int(frames[0][y * 8 if y else 4, x * 8 if x else 4, 0]) for y in (0, -1) for x in (0, -1)}
    assert max(four, key=lambda k: four[k]) == corner and four[corner] > 200
    assert sum(v > 100 for v in four.values()) == 1
