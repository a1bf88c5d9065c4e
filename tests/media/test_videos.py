"""Videos of every bad and odd kind, and resampling by hand."""

import io
import struct
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from sfv.errors import SfvError
from sfv.media import DamagedVideo, Jump, at_rate, stream_video
from sfv.media.videos import LONGEST


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


@given(
    st.lists(st.lists(st.integers(0, 640), max_size=6), min_size=1, max_size=5),
    st.lists(st.integers(-9999, 10**7).filter(lambda jump: not 0 <= jump <= 640), min_size=5, max_size=5),
    st.floats(0.5, 30),
)
@settings(max_examples=100, deadline=None)
def test_a_jump_of_the_clock_drops_and_invents_nothing(runs: list[list[int]], jumps: list[int], fps: float) -> None:
    """Joined runs, each with a clock of its own, are what every run alone is, with a Jump between. Times in 1/64 s."""
    joined: list[tuple[float, torch.Tensor]] = []
    apart: list[int | str] = []
    clock = 0
    for gaps, jump in zip(runs, jumps, strict=False):
        times = [int(t) for t in np.cumsum([0, *gaps])]
        some = [(t, grey(len(joined) + i)) for i, t in enumerate(times)]
        joined += [((clock + t) / 64, p) for t, p in some]
        apart += [*values(at_rate([(t / 64, p) for t, p in some], fps)), "jump"]
        clock += times[-1] + jump
    got = ["jump" if isinstance(p, Jump) else int(p[0, 0, 0]) for p in at_rate(joined, fps)]
    assert LONGEST == 640 / 64 and [*got, "jump"] == apart


def pieces(folder: Path) -> tuple[bytes, bytes]:
    """Two MPEG-TS of ten frames at 10 a second, each from 0."""
    parts = []
    for low in (0, 100):
        with av.open(str(folder / "part.ts"), "w", format="mpegts") as container:
            stream = container.add_stream("libx264", rate=10)
            stream.height, stream.width, stream.pix_fmt = 32, 48, "yuv420p"
            stream.options = {"crf": "0", "tune": "zerolatency"}
            for i in range(10):
                picture = np.full((32, 48, 3), low + 10 * i, np.uint8)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            container.mux(stream.encode())
        parts.append((folder / "part.ts").read_bytes())
    return parts[0], parts[1]


def tens(pictures: Iterable[object]) -> list[object]:
    """Grey in tens, and "jump"."""
    return ["jump" if isinstance(p, Jump) else round(int(p[3, 3, 1]) / 10) for p in pictures]  # type: ignore[index]


def test_joined_files_keep_every_frame(tmp_path: Path) -> None:
    """cat a.ts b.ts: the clock starts again."""
    first, second = pieces(tmp_path)
    (tmp_path / "joined.ts").write_bytes(first + second + first)
    got = tens(at_rate(stream_video(tmp_path / "joined.ts"), 10))
    assert got == [*range(10), "jump", *range(10, 20), "jump", *range(10)]


@pytest.mark.parametrize("jump", [60.0, 86_400.0])
def test_a_lost_signal_invents_no_frames(jump: float, tmp_path: Path) -> None:
    times = [i / 10 + (jump if i > 4 else 0) for i in range(10)]
    got = tens(at_rate(stream_video(make(tmp_path / "v.mkv", times)), 10))
    assert got == [*range(5), "jump", *range(5, 10)]


def test_a_long_wait_is_no_jump(tmp_path: Path) -> None:
    """A slide show with a picture every eight seconds."""
    got = tens(at_rate(stream_video(make(tmp_path / "v.mkv", [0, 8, 16])), 1))
    assert got == [0] * 8 + [1] * 8 + [2] * 8


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


def film(path: Path, pictures: list[np.ndarray], aspect: Fraction | None = None, format: str | None = None) -> Path:
    """A small video of these pictures."""
    with av.open(str(path), "w", format=format) as container:
        stream = container.add_stream("libx264", rate=10)
        stream.height, stream.width, stream.pix_fmt = *pictures[0].shape[:2], "yuv420p"
        stream.options = {"crf": "5"}
        if aspect:
            stream.codec_context.sample_aspect_ratio = aspect
        for picture in pictures:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return path


def quarters() -> np.ndarray:
    """Four greys, one in each quarter."""
    return np.kron(np.array([[20, 90], [160, 230]], np.uint8), np.ones((16, 32), np.uint8))[..., None].repeat(3, 2)


@pytest.mark.parametrize(
    ("a", "b", "c", "d"),
    [
        (1, 0, 0, 1),
        (-1, 0, 0, 1),
        (1, 0, 0, -1),
        (-1, 0, 0, -1),
        (0, 1, -1, 0),
        (0, -1, 1, 0),
        (0, 1, 1, 0),
        (0, -1, -1, 0),
    ],
)
def test_all_eight_display_matrices(tmp_path: Path, a: int, b: int, c: int, d: int) -> None:
    """A stored point (x, y) is shown at (a x + c y, b x + d y); front cameras mirror (ISO 14496-12, 8.3.2)."""
    path = film(tmp_path / "turned.mp4", [quarters()] * 3)
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 4 + 40
    matrix = (a * 65536, b * 65536, 0, c * 65536, d * 65536, 0, 0, 0, 1 << 30)
    data[at : at + 36] = b"".join(v.to_bytes(4, "big", signed=True) for v in matrix)
    path.write_bytes(data)
    places = {(x, y): (a * x + c * y, b * x + d * y) for x in (0, 1) for y in (0, 1)}
    left, top = (min(p[k] for p in places.values()) for k in (0, 1))
    shown = list(stream_video(path))[0][1]
    h, w = shown.shape[:2]
    for (x, y), (to_x, to_y) in places.items():
        got = int(shown[h // 4 + (to_y - top) * h // 2, w // 4 + (to_x - left) * w // 2, 0])
        assert abs(got - int(quarters()[8 + 16 * y, 16 + 32 * x, 0])) < 12


@pytest.mark.parametrize(
    ("aspect", "size"), [(Fraction(2, 1), (32, 128)), (Fraction(1, 2), (64, 64)), (None, (32, 64))]
)
def test_pixels_become_square(tmp_path: Path, aspect: Fraction | None, size: tuple[int, int]) -> None:
    shown = list(stream_video(film(tmp_path / "wide.mp4", [quarters()] * 3, aspect)))[0][1]
    assert tuple(shown.shape[:2]) == size


def box(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", 8 + len(content)) + kind + content


def jpeg(shade: int = 200) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (64, 64), (0, shade, 0)).save(out, "JPEG")
    return out.getvalue()


def with_cover(path: Path, covers: int = 1, after: int = 0) -> Path:
    """An mp4 with covers (iTunes' covr) as streams after its first `after` tracks."""
    handler = box(b"hdlr", b"\0" * 8 + b"mdirappl" + b"\0" * 9)
    pictures = [box(b"data", struct.pack(">II", 13, 0) + jpeg(200 - 50 * i)) for i in range(covers)]
    cover = box(b"udta", box(b"meta", b"\0" * 4 + handler + box(b"ilst", box(b"covr", b"".join(pictures)))))
    data = path.read_bytes()
    start = data.rindex(b"moov") - 4
    size = int.from_bytes(data[start : start + 4], "big")
    assert start + size == len(data)  # so nothing that offsets point to moves
    split = start + 8
    for _ in range(1 + after):  # the movie's header, and tracks
        split += int.from_bytes(data[split : split + 4], "big")
    path.write_bytes(
        data[:start] + struct.pack(">I", size + len(cover)) + data[start + 4 : split] + cover + data[split:]
    )
    return path


def tracks(path: Path, order: str, covers: int = 0) -> Path:
    """A file of half a second: its tracks in this order, "a" for sound and "v" for five pictures; then attachments."""
    with av.open(str(path), "w") as container:
        for i in range(covers):
            container.add_attachment(f"cover{i}.jpg", "image/jpeg", jpeg(200 - 50 * i))
        made: list[tuple[object, av.VideoFrame | av.AudioFrame]] = []
        for kind in order:
            if kind == "a":
                sound = container.add_stream("aac", rate=8000, layout="mono")
                silence = av.AudioFrame.from_ndarray(np.zeros((1, 4000), np.float32), "fltp", "mono")
                silence.sample_rate = 8000
                made.append((sound, silence))
            else:
                stream = container.add_stream("libx264", rate=10)
                stream.height, stream.width, stream.pix_fmt = 32, 64, "yuv420p"
                made += [(stream, av.VideoFrame.from_ndarray(quarters(), format="rgb24")) for _ in range(5)]
        for to, frame in made:
            container.mux(to.encode(frame))  # type: ignore[attr-defined]
        for to in dict.fromkeys(to for to, _ in made):
            container.mux(to.encode())  # type: ignore[attr-defined]
    return path


def streams(path: Path) -> str:
    """a: sound, v: pictures, c: a cover; in their order."""
    with av.open(str(path)) as container:
        covers = [getattr(s, "disposition", 0) & av.stream.Disposition.attached_pic for s in container.streams]
        return "".join("c" if c else s.type[0] for s, c in zip(container.streams, covers, strict=True))


@pytest.mark.parametrize(
    ("name", "order", "covers", "after", "found"),
    [
        ("v.mp4", "v", 1, 0, "cv"),
        ("v.mov", "v", 1, 0, "cv"),
        ("v.mp4", "v", 2, 0, "ccv"),
        ("v.mp4", "av", 1, 1, "acv"),
        ("v.mp4", "va", 1, 2, "vac"),
        ("v.mkv", "v", 1, None, "vc"),
        ("v.mkv", "av", 2, None, "avcc"),
    ],
)
def test_a_cover_is_no_film(tmp_path: Path, name: str, order: str, covers: int, after: int | None, found: str) -> None:
    """Pictures that shops and downloaders attach are passed over, wherever they are among the streams."""
    path = tracks(tmp_path / name, order, covers if after is None else 0)
    if after is not None:
        with_cover(path, covers, after)
    assert streams(path) == found
    frames = [f for _, f in stream_video(path)]
    assert len(frames) == 5 and {f.shape for f in frames} == {(32, 64, 3)}
    assert abs(int(frames[0][8, 16, 0]) - 20) < 12, "the film's dark quarter, not the cover's green"


@pytest.mark.parametrize(("name", "covers"), [("song.m4a", 1), ("song.mp4", 2), ("song.mkv", 1), ("song.m4a", 0)])
def test_a_song_with_a_cover_holds_no_video(tmp_path: Path, name: str, covers: int) -> None:
    matroska = name.endswith("mkv")
    path = tracks(tmp_path / name, "a", covers if matroska else 0)
    if covers and not matroska:
        with_cover(path, covers)
    assert sorted(streams(path)) == ["a"] + ["c"] * covers
    with pytest.raises(SfvError, match=rf"^\S+{name} holds no video \(only sound, or a cover\?\)"):
        next(stream_video(path))


def test_a_size_that_changes_ends_the_film_with_a_reason(tmp_path: Path) -> None:
    """Two parts of unlike size joined, as cameras and broadcasts do; the frames before it are good."""
    parts = [film(tmp_path / "a.ts", [quarters()] * 6, format="mpegts")]
    parts.append(film(tmp_path / "b.ts", [np.kron(quarters(), np.ones((2, 2, 1), np.uint8))] * 6, format="mpegts"))
    (tmp_path / "joined.ts").write_bytes(b"".join(p.read_bytes() for p in parts))
    seen = []
    with pytest.raises(DamagedVideo, match="changes its size from 64x32 to 128x64 after 6 frames"):
        for _, picture in stream_video(tmp_path / "joined.ts"):
            seen.append(picture)
    assert len(seen) == 6


def tagged(path: Path, old: bytes, new: bytes) -> Path:
    """A video in whose bytes something stands instead of something else."""
    make(path, [i / 10 for i in range(6)])
    data = path.read_bytes()
    assert data.count(old) == 1 and len(old) == len(new)
    path.write_bytes(data.replace(old, new))
    return path


def test_a_title_that_is_not_utf8_stops_nothing(tmp_path: Path) -> None:
    assert len(list(stream_video(tagged(tmp_path / "v.mp4", b"VideoHandler", b"Vid\xe9oHandler")))) == 6


def test_an_unknown_codec_is_named(tmp_path: Path) -> None:
    with pytest.raises(SfvError, match="v.mkv is of a codec that FFmpeg does not know"):
        list(stream_video(tagged(tmp_path / "v.mkv", b"V_MPEG4/ISO/AVC", b"V_MPEG4/ISX/AVC")))


def test_an_impossible_pixel_is_taken_as_square(tmp_path: Path) -> None:
    path = tmp_path / "v.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.height, stream.width, stream.pix_fmt = 32, 48, "yuv420p"
        stream.codec_context.sample_aspect_ratio = Fraction(200, 1)
        container.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((32, 48, 3), np.uint8), format="rgb24")))
        container.mux(stream.encode())
    assert next(stream_video(path))[1].shape == (32, 48, 3)
