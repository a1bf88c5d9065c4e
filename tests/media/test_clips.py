"""Times of frames in animations: they add up, and no browser slows them down. The same frames are the same file."""

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from sfv.batch.replay import replay
from sfv.errors import SfvError
from sfv.media import is_ours, read_clip, write_clip
from sfv.media.clips import FASTEST, frame_times, webp_bytes

NOTE = '{"sfv": "0", "settings": {"fps": RATE}}'


SHORTEST = {"gif": 20, "webp": 11, "png": 11}
"""Milliseconds; browsers show what is given 10 or less for 100."""


def shown(file: Path | io.BytesIO) -> list[int]:
    """Milliseconds of every picture of an animation."""
    with Image.open(file) as picture:
        times = []
        for i in range(picture.n_frames):  # type: ignore[attr-defined]
            picture.seek(i)
            picture.load()
            times.append(round(picture.info["duration"]))
    return times


def noise(count: int) -> torch.Tensor:
    """Frames of which no two are alike."""
    return torch.randint(0, 256, (count, 16, 16, 3), dtype=torch.uint8)


@given(st.integers(1, 200), st.floats(1, 240), st.sampled_from(["gif", "webp", "png"]))
def test_times_add_up_and_none_is_too_short(count: int, fps: float, format: str) -> None:
    kept, times = frame_times(count, fps, format)
    assert len(kept) == len(times) and kept == sorted(set(kept)) and kept[0] == 0 and kept[-1] < count
    assert all(t >= SHORTEST[format] for t in times)
    assert abs(sum(times) - 1000 * count / fps) < 20  # a lone frame at 240 a second gets 20 ms for its 4
    if fps <= FASTEST[format]:
        assert len(kept) == count


@pytest.mark.parametrize("ending", ["gif", "webp", "png", "mp4"])
@pytest.mark.parametrize(("note", "fps"), [(NOTE, 7.0), (NOTE, 12.0), (NOTE, 30.0), ("", 7.0), ("", 12.0), ("", 25.0)])
def test_equal_frames_are_read_back_as_many(ending: str, note: str, fps: float, tmp_path: Path) -> None:
    """A clip that stands still for a while, at its beginning, in the middle and at its end."""
    levels = [0, 0, 0, 60, 120, 180, 180, 60, 60, 60, 60, 0, 240, 240]
    frames = torch.tensor(levels, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 16, 16, 3).contiguous()
    write_clip(frames, tmp_path / f"c.{ending}", fps, note.replace("RATE", str(fps)))
    got = read_clip(tmp_path / f"c.{ending}")[:, 8, 8, 1].tolist()
    assert len(got) == 14 and all(abs(a - b) <= 4 for a, b in zip(got, levels, strict=True))


@pytest.mark.parametrize(
    ("format", "fps", "count"),
    [
        ("gif", 12, 57),
        ("gif", 30, 57),
        ("gif", 100 / 3, 57),
        ("gif", 60, 48),
        ("gif", 120, 24),
        ("webp", 24, 57),
        ("webp", 60, 57),
        ("webp", 120, 43),
        ("png", 24, 57),
        ("png", 60, 57),
        ("png", 120, 43),
    ],
)
def test_an_animations_length_is_the_clips(format: str, fps: float, count: int, tmp_path: Path) -> None:
    write_clip(noise(57), tmp_path / f"c.{format}", fps)
    times = shown(tmp_path / f"c.{format}")
    assert len(times) == count and min(times) >= SHORTEST[format]
    assert abs(sum(times) - 1000 * 57 / fps) <= (15 if format == "gif" else 6)


@pytest.mark.parametrize("format", ["gif", "webp", "png"])
@pytest.mark.parametrize(("fps", "each"), [(50, 20), (25, 40), (10, 100)])
def test_a_rate_that_a_format_can_hold_is_held_exactly(format: str, fps: int, each: int, tmp_path: Path) -> None:
    write_clip(noise(9), tmp_path / f"c.{format}", fps)
    assert shown(tmp_path / f"c.{format}") == [each] * 9


@pytest.mark.parametrize("fps", [24, 60, 120])
def test_a_pages_animation_lasts_as_long_as_its_clip(fps: int) -> None:
    times = shown(io.BytesIO(webp_bytes(noise(57), fps)))
    assert min(times) >= SHORTEST["webp"] and abs(sum(times) - 1000 * 57 / fps) <= 6


@pytest.mark.parametrize("ending", ["webp", "png", "mp4"])
@pytest.mark.parametrize("fps", [24, 60])
def test_a_long_quick_clip_is_read_back_frame_by_frame(ending: str, fps: int, tmp_path: Path) -> None:
    write_clip(noise(150), tmp_path / f"c.{ending}", fps, NOTE.replace("RATE", str(fps)))
    assert len(read_clip(tmp_path / f"c.{ending}")) == 150


def test_the_same_frames_are_the_same_file(tmp_path: Path) -> None:
    """Small noise, between blocks of memory that hold something else each time."""
    random = np.random.default_rng(5)
    noise = torch.from_numpy(random.integers(0, 256, (4, 48, 48, 3), np.uint8))
    files = set()
    for i in range(20):
        other = [np.full(int(random.integers(1, 60_000)), i, np.uint8) for _ in range(50)]
        write_clip(noise, tmp_path / "c.mp4", 12)
        files.add((tmp_path / "c.mp4").read_bytes())
        del other
    assert len(files) == 1


@pytest.mark.parametrize("ending", ["gif", "webp", "png", "mp4"])
@pytest.mark.parametrize("left", [0, 60, 700])
def test_a_clip_that_is_cut_short_is_one_sentence(ending: str, left: int, tmp_path: Path) -> None:
    path = tmp_path / f"c.{ending}"
    write_clip(torch.randint(0, 256, (8, 64, 64, 3), dtype=torch.uint8), path, 8, NOTE.replace("RATE", "8"))
    path.write_bytes(path.read_bytes()[:left])
    with pytest.raises(SfvError, match=rf"c.{ending} is not a readable") as raised:
        read_clip(path)
    assert "Errno" not in str(raised.value)


@pytest.mark.parametrize("ending", ["mp4", "webm", "gif", "webp", "png"])
def test_a_file_written_from_python_bears_our_mark(ending: str, tmp_path: Path) -> None:
    """So `sfv generate` may replace it; it is no clip to be replayed, and says so."""
    path = tmp_path / f"clip.{ending}"
    write_clip(noise(3), path, 10)
    assert is_ours(path)
    with pytest.raises(SfvError, match="without its parameters.*make it again from its picture"):
        replay(path)
