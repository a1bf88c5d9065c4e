"""Which eyes are found: of drawn faces the two that were drawn, in other drawings none."""

import math
from typing import Any

import pytest
import torch
from faces import Drawn, face
from hypothesis import given, settings
from hypothesis import strategies as st

from sfv.decoding import eyes
from sfv.decoding.eyes import Eye, eyes_in


def found(drawn: Drawn) -> tuple[Eye, Eye] | None:
    return eyes_in(drawn.picture, drawn.there)


def middle(eye: Eye) -> torch.Tensor:
    """(row, column)"""
    return eye.pixels.nonzero().float().mean(0)


@settings(deadline=None, max_examples=30)
@given(
    st.floats(40, 60),
    st.floats(40, 60),
    st.floats(24, 36),
    st.booleans(),
    st.sampled_from(["#f7c948", "#8d5a3c", "#e8f0ff"]),
)
def test_drawn_eyes_are_found_where_they_are(row: float, column: float, radius: float, white: bool, skin: str) -> None:
    drawn = face((row, column), radius, white=white, skin=skin)
    pair = found(drawn)
    assert pair is not None
    for eye, place in zip(pair, drawn.eyes, strict=True):
        assert (middle(eye) - torch.tensor(place)).abs().max() < 1.5


def test_an_eye_has_its_white_and_fur_is_none() -> None:
    """On white fur the pupil alone is the eye."""
    plain, white, fur = (face(white=w, skin=s) for w, s in ((False, "#f7c948"), (True, "#f7c948"), (False, "#ffffff")))
    sizes = [int(pair[0].pixels.sum()) if (pair := found(d)) else 0 for d in (plain, white, fur)]
    assert sizes[1] > 2 * sizes[0] and sizes[2] == pytest.approx(sizes[0], rel=0.3)


@pytest.mark.parametrize(("ring", "skin", "larger"), [("#ffe040", "#5a3c20", True), ("#404060", "#e8e0ff", False)])
def test_an_eye_has_a_bright_ring_but_no_dark_patch(ring: str, skin: str, larger: bool) -> None:
    """As owls and pandas have them."""
    sizes = [int(pair[0].pixels.sum()) if (pair := found(face(skin=skin, ring=r))) else 0 for r in (None, ring)]
    assert (sizes[1] > 2 * sizes[0]) == larger and sizes[0] > 0


def test_eyes_win_over_nostrils() -> None:
    pair = found(face(nostrils=True))
    assert pair is not None and abs(float(middle(pair[0])[0]) - face().eyes[0][0]) < 1.5


@pytest.mark.parametrize("skin", ["#f3c9a8", "#f7dece", "#fbe0d0"])
def test_eyes_with_white_win_over_the_brows_above(skin: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Brows are flat, darker and larger, and by themselves the better pair."""
    drawn = face(white=True, brows=True, skin=skin)

    def above() -> float:
        pair = found(drawn)
        assert pair is not None
        return max(place[0] - float(middle(eye)[0]) for eye, place in zip(pair, drawn.eyes, strict=True))

    assert abs(above()) < 2
    monkeypatch.setattr(eyes, "UNDER", (math.inf, math.inf))
    assert abs(above()) > 5


def test_eyes_without_white_win_over_nostrils_in_a_white_muzzle(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are round, not flat as brows."""
    drawn = face(skin="#a87848", muzzle=True)
    pair = found(drawn)
    assert pair is not None and abs(float(middle(pair[0])[0]) - drawn.eyes[0][0]) < 1.5
    monkeypatch.setattr(eyes, "FLAT", 0.0)
    pair = found(drawn)
    assert pair is not None and float(middle(pair[0])[0]) - drawn.eyes[0][0] > 10


@pytest.mark.parametrize("drawn", [face(eyes="none"), face(eyes="one"), face(eyes="closed"), face(eyes="unlike")])
def test_what_is_no_pair_of_open_eyes_is_none(drawn: Drawn) -> None:
    assert found(drawn) is None


def test_of_a_pattern_the_clearest_spots_alone_are_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    compared = set()
    alike = eyes._alike

    def counted(one: Any, other: Any, *rest: Any) -> float:
        compared.update((id(one), id(other)))
        return alike(one, other, *rest)

    monkeypatch.setattr(eyes, "_alike", counted)
    monkeypatch.setattr(eyes, "MOST", 20)
    rows, columns = torch.meshgrid(torch.arange(96), torch.arange(96), indexing="ij")
    off = (rows % 12 - 5.5) ** 2 + (columns % 12 - 5.5) ** 2
    dots = torch.cat([(off / 16).clamp(0, 1).expand(1, 3, -1, -1) * 2 - 1, torch.ones(1, 1, 96, 96)], 1)
    eyes_in(dots, torch.ones(96, 96, dtype=torch.bool))
    assert len(compared) == 20


def test_a_picture_without_anything_in_it_has_none() -> None:
    nothing = torch.full((1, 4, 32, 32), -1.0)
    assert eyes_in(nothing, torch.zeros(32, 32, dtype=torch.bool)) is None


@pytest.mark.parametrize("share", [0.2, 0.4, 0.6])
def test_parts_are_those_that_spread_from_a_pixel(share: float) -> None:
    """Runs that touch, corners included, are what a flood through eight neighbours reaches; nothing else is."""
    inside = torch.rand(24, 17, generator=torch.Generator().manual_seed(int(10 * share))) < share
    rows, starts, ends = eyes._runs(inside.numpy())
    parts = []
    for part in eyes._joined(rows, starts, ends, inside.shape[1]):
        mask = torch.zeros_like(inside)
        for i in part:
            mask[rows[i], starts[i] : ends[i]] = True
        parts.append(mask)
    assert torch.equal(torch.stack(parts).sum(0), inside.long())
    for mask in parts:
        seed = torch.zeros(inside.shape)
        seed[tuple(mask.nonzero()[0])] = 1
        assert torch.equal(eyes.spread(seed, inside, inside.numel()) > 0, mask)
