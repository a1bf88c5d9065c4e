"""Times of frames in gifs: they add up, and no browser slows them down. The same frames are the same file."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from sfv.errors import SfvError
from sfv.media import read_clip, write_clip
from sfv.media.clips import gif_times

NOTE = '{"sfv": "0", "settings": {"fps": RATE}}'


@given(st.integers(1, 200), st.floats(1, 240))
def test_times_add_up_and_none_is_too_short(count: int, fps: float) -> None:
    kept, times = gif_times(count, fps)
    assert len(kept) == len(times) and kept == sorted(set(kept)) and kept[0] == 0 and kept[-1] < count
    assert all(t >= 20 for t in times)
    assert abs(sum(times) - 1000 * count / fps) < 20  # a lone frame at 240 a second gets 20 ms for its 4
    if fps <= 50:
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


@pytest.mark.parametrize(("fps", "count"), [(60, 48), (12, 57), (30, 57)])
def test_a_gifs_length_is_the_clips(fps: int, count: int, tmp_path: Path) -> None:
    frames = torch.randint(0, 256, (57, 16, 16, 3), dtype=torch.uint8)
    write_clip(frames, tmp_path / "c.gif", fps)
    with Image.open(tmp_path / "c.gif") as gif:
        assert gif.n_frames == count  # type: ignore[attr-defined]
        times = [gif.seek(i) or gif.info["duration"] for i in range(count)]  # type: ignore[func-returns-value]
    assert min(times) >= 20 and abs(sum(times) - 1000 * 57 / fps) <= 15


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
