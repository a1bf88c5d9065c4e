"""Times of frames in gifs: they add up, and no browser slows them down."""

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from sfv.media import write_clip
from sfv.media.clips import gif_times


@given(st.integers(1, 200), st.floats(1, 240))
def test_times_add_up_and_none_is_too_short(count: int, fps: float) -> None:
    kept, times = gif_times(count, fps)
    assert len(kept) == len(times) and kept == sorted(set(kept)) and kept[0] == 0 and kept[-1] < count
    assert all(t >= 20 for t in times)
    assert abs(sum(times) - 1000 * count / fps) <= 15
    if fps <= 50:
        assert len(kept) == count


@pytest.mark.parametrize(("fps", "count"), [(60, 48), (12, 57), (30, 57)])
def test_a_gifs_length_is_the_clips(fps: int, count: int, tmp_path: Path) -> None:
    frames = torch.randint(0, 256, (57, 16, 16, 3), dtype=torch.uint8)
    write_clip(frames, tmp_path / "c.gif", fps)
    with Image.open(tmp_path / "c.gif") as gif:
        assert gif.n_frames == count  # type: ignore[attr-defined]
        times = [gif.seek(i) or gif.info["duration"] for i in range(count)]  # type: ignore[func-returns-value]
    assert min(times) >= 20 and abs(sum(times) - 1000 * 57 / fps) <= 15
