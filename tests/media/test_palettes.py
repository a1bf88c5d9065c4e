"""Palettes with transparency: opaque stays opaque, clear stays clear, colours stay close."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from sfv.media import write_clip
from sfv.media.palettes import with_palette


def colourful(height: int, width: int) -> np.ndarray:
    """Smooth and of all hues, as photos are, (height, width, 3)."""
    y, x = np.mgrid[:height, :width] / max(height, width)
    waves = [np.sin(9 * x + 4 * y), np.cos(7 * y - 5 * x), np.sin(8 * (x + y) + 2)]
    return np.uint8(np.stack(waves, -1) * 127 + 128)


def photo_on_nothing(frames: int = 3) -> np.ndarray:
    """A wide photo in a square that is clear above and below, with a soft edge."""
    made = np.zeros((frames, 90, 90, 4), np.uint8)
    for i in range(frames):
        made[i, 15:75, :, :3] = np.roll(colourful(60, 90), 2 * i, 1)
    made[:, 15:75, :, 3] = 255
    made[:, 15:23, :, 3] = np.linspace(30, 225, 8, dtype=np.uint8)[:, None]
    return made


def shown(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        frames = []
        for i in range(picture.n_frames):  # type: ignore[attr-defined]
            picture.seek(i)
            frames.append(np.array(picture.convert("RGBA")))
    return np.stack(frames)


@pytest.mark.parametrize(("entries", "opacity", "colours"), [(256, 16, 9), (128, 16, 12), (64, 16, 17), (32, 32, 23)])
def test_a_photo_in_a_sticker_has_no_holes(entries: int, opacity: int, colours: float, tmp_path: Path) -> None:
    given = photo_on_nothing()
    write_clip(torch.from_numpy(given), tmp_path / "a.png", 10, level=entries)
    got = shown(tmp_path / "a.png").astype(int)
    alpha = given[..., 3].astype(int)
    assert (got[..., 3][alpha == 255] == 255).all() and (got[..., 3][alpha == 0] == 0).all()
    assert np.abs(got[..., 3] - alpha).max() <= opacity
    assert np.abs(got[..., :3] - given[..., :3])[alpha == 255].mean() < colours


def test_few_pixels_of_a_vivid_colour_keep_it() -> None:
    """Two hundred pixels of blue in a brown cake of eight thousand."""
    frames = np.zeros((1, 90, 90, 4), np.uint8)
    frames[..., :3] = colourful(90, 90) // 8 + (150, 100, 60)
    frames[0, 40:50, 40:60, :3] = (40, 120, 250)
    frames[..., 3] = 255
    which, palette = with_palette(frames, 16)
    assert np.abs(palette[which][0, 45, 50].astype(int) - (40, 120, 250, 255)).max() <= 8


@pytest.mark.parametrize("entries", [2, 3, 16, 256])
def test_a_palette_has_as_many_entries_as_asked_and_one_for_what_is_clear(entries: int) -> None:
    which, palette = with_palette(photo_on_nothing(), entries)
    assert len(palette) <= entries and which.max() < len(palette)
    assert [tuple(c) for c in palette if c[3] == 0] == [(0, 0, 0, 0)]


def test_a_flat_picture_keeps_its_colours_exactly() -> None:
    frames = np.zeros((2, 16, 16, 4), np.uint8)
    frames[:, :8], frames[:, 8:12] = (255, 255, 255, 255), (17, 3, 251, 255)
    which, palette = with_palette(frames, 64)
    assert np.array_equal(palette[which], frames)
