"""Clips out of videos: scenes, sizes, motion, look-alikes; and where videos are found."""

import json
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sfv.data.scenes import Left, Look, Window, alike, clips_of_scenes, duplicates, look, nearest, windows
from sfv.data.settings import ClipPlan
from sfv.data.sources import find
from sfv.errors import SfvError
from sfv.media import read_clip, write_clip


def scene(seed: int, count: int, speed: float = 1.0, size: tuple[int, int] = (64, 96)) -> list[torch.Tensor]:
    """A textured picture that slides to the right."""
    g = torch.Generator().manual_seed(seed)
    base = torch.rand(3, 1, 1, generator=g) * 0.6
    blobs = torch.nn.functional.interpolate(
        torch.rand(1, 3, 12, 40, generator=g), (size[0], 4 * size[1]), mode="bicubic"
    )
    wide = (base + 0.4 * blobs[0]).clamp(0, 1)
    at = [round(speed * i) for i in range(count)]
    return [(255 * wide[:, :, x : x + size[1]]).to(torch.uint8).permute(1, 2, 0).contiguous() for x in at]


def test_scenes_are_not_mixed() -> None:
    plan = ClipPlan(fps=7, frames=4, sizes=("32x48",))
    dark, light = scene(1, 10), [255 - p for p in scene(1, 7)]
    got = list(clips_of_scenes(dark + light, plan))
    assert [(first, len(some)) for first, some in got] == [(0, 4), (4, 4), (8, 2), (10, 4), (14, 3)]


def test_fast_motion_is_no_cut() -> None:
    plan = ClipPlan(fps=7, frames=8, sizes=("32x48",))
    assert [len(s) for _, s in clips_of_scenes(scene(2, 16, speed=6), plan)] == [8, 8]


def test_a_busy_scene_is_not_cut_up() -> None:
    """Noise that changes by more than the threshold in every frame is one scene."""
    g = torch.Generator().manual_seed(0)
    busy = [(torch.rand(64, 64, 3, generator=g) * 180).to(torch.uint8).repeat_interleave(4, 0)[:64] for _ in range(8)]
    coarse = [p[::16, ::16].repeat_interleave(16, 0).repeat_interleave(16, 1) for p in busy]
    plan = ClipPlan(fps=7, frames=8, sizes=("32x32",))
    changes = [float((a.float() - b.float()).abs().mean()) / 255 for a, b in zip(coarse, coarse[1:], strict=False)]
    assert min(changes) > plan.cut
    assert [len(s) for _, s in clips_of_scenes(coarse, plan)] == [8]


def test_windows_have_one_size_and_a_motion_score() -> None:
    plan = ClipPlan(fps=7, frames=4, sizes=("32x48", "48x32"))
    still, slow, fast = ([w for w in windows(scene(3, 4, v), plan)][0] for v in (0.0, 1.0, 3.0))
    assert isinstance(still, Window) and isinstance(slow, Window) and isinstance(fast, Window)
    assert still.frames.shape == (4, 32, 48, 3)
    assert still.motion < 0.1 < slow.motion < fast.motion
    assert slow.motion == pytest.approx(4, rel=0.4), "1 pixel at 64 is 4 at 256"


def test_what_is_left_out_says_why() -> None:
    plan = ClipPlan(fps=7, frames=4, sizes=("32x48",), min_motion=1)
    got = list(windows(scene(4, 6, 0.0), plan))
    assert [type(w) for w in got] == [Left, Left]
    assert "outside 1" in got[0].why and "fewer than 4" in got[1].why  # type: ignore[union-attr]
    many = list(windows(scene(4, 12, 1), ClipPlan(fps=7, frames=4, sizes=("32x48",), max_clips=1)))
    assert isinstance(many[0], Window) and isinstance(many[1], Left) and len(many) == 2


def test_a_ribbon_is_left_out() -> None:
    plan = ClipPlan(fps=7, frames=4, sizes=("32x48",))
    (left,) = windows(scene(1, 4, 1.0, (4, 96)), plan)
    assert isinstance(left, Left) and "96x4 is more than 16 times" in left.why


def test_the_nearest_bucket_is_by_shape() -> None:
    buckets = ClipPlan(fps=7, frames=4, sizes=("576x1024", "1024x576", "768x768")).buckets()
    assert nearest(buckets, 1080, 1920) == (576, 1024)
    assert nearest(buckets, 1920, 1080) == (1024, 576)
    assert nearest(buckets, 500, 520) == (768, 768)
    with pytest.raises(SfvError, match="HEIGHTxWIDTH"):
        ClipPlan(fps=7, frames=4, sizes=("big",)).buckets()


def levels(frames: torch.Tensor) -> torch.Tensor:
    return frames.round().clamp(0, 255).to(torch.uint8)


def test_copies_are_found_across_sizes_noise_grades_and_codecs(tmp_path: Path) -> None:
    first, other = (torch.stack(scene(seed, 4, 2.0)) for seed in (5, 6))
    smaller = torch.nn.functional.interpolate(first.permute(0, 3, 1, 2).float(), (48, 72), mode="area")
    write_clip(first, tmp_path / "c.mp4", 7)
    copies = [
        levels(smaller.permute(0, 2, 3, 1)),
        levels(first.float() + torch.randn(first.shape)),
        levels(0.8 * first.float() + 30),
        levels(first.float() * torch.tensor([1.05, 1.0, 0.9])),
        read_clip(tmp_path / "c.mp4"),
    ]
    assert duplicates([look(c) for c in (first, other, *copies)]) == dict.fromkeys(range(2, 7), 0)


Y, X = torch.meshgrid(torch.arange(128.0), torch.arange(192.0), indexing="ij")


def drawn(paint: Callable[[int], torch.Tensor], colour: tuple[float, float, float]) -> torch.Tensor:
    return levels(torch.stack([paint(i)[..., None] * torch.tensor(colour) for i in range(14)]))


PLAIN = {
    "rows grow brighter, a bright line sinks": drawn(lambda i: 40 + Y + 180 * ((Y - 30 - i).abs() < 3), (0.3, 0.6, 1)),
    "light above, dark below": drawn(lambda i: torch.where(Y < 60 + i, 190.0, 60.0), (0.4, 0.9, 0.5)),
    "a red light pulses": drawn(lambda i: torch.full_like(Y, 20 + 15.0 * i), (1, 0.1, 0.1)),
    "a blue light pulses": drawn(lambda i: torch.full_like(Y, 230 - 15.0 * i), (0.1, 0.1, 1)),
    "a star rises": drawn(lambda i: 255.0 * ((Y - 100 + 5 * i) ** 2 + (X - 96) ** 2 < 9), (1, 1, 1)),
    "lamps blink": drawn(lambda i: 255.0 * (i % 2) * ((Y - 64) ** 2 + (X - 30) ** 2 < 9), (1, 0.9, 0.6)),
    "a fade from black": drawn(lambda i: torch.zeros_like(Y) if i < 10 else X, (1, 1, 1)),
    "a dim ramp sinks": drawn(lambda i: 8 * X / 192 + (Y < 10 * i), (1, 1, 1)),
}


def test_dim_and_plain_clips_are_no_copies() -> None:
    assert duplicates([look(c) for c in PLAIN.values()]) == {}


def test_one_stage_and_other_events_are_no_copies() -> None:
    """The same fixed camera: a ball falls, rises, rolls; the same picture under another light curve."""
    ground = torch.stack([scene(7, 1)[0]] * 14).float()
    y, x = Y[:64, :96], X[:64, :96]

    def ball(at: Callable[[int], tuple[float, float]]) -> torch.Tensor:
        inside = torch.stack([(y - at(i)[0]) ** 2 + (x - at(i)[1]) ** 2 < 64 for i in range(14)])
        return levels(torch.where(inside[..., None], 255.0, ground))

    falls, rises, rolls = ball(lambda i: (8 + 3 * i, 48)), ball(lambda i: (50 - 3 * i, 48)), ball(lambda i: (50, 6 * i))
    fades = levels(ground * torch.linspace(0.3, 1, 14)[:, None, None, None])
    brightens = levels(ground * torch.linspace(1, 0.3, 14)[:, None, None, None])
    assert duplicates([look(c) for c in (falls, rises, rolls, fades, brightens, falls)]) == {5: 0}


def test_a_ramp_and_another_ramp_are_no_copies() -> None:
    """Every bit agrees; the pictures do not."""
    ramp, steps = (
        drawn(lambda i: X + i, (1, 1, 1)),
        drawn(lambda i: 20 * (X // 24) ** 1.3 + X / 24 + 0.3 * Y * i / 14, (1, 1, 1)),
    )
    marks = [look(ramp), look(steps)]
    assert marks[0].bits == marks[1].bits and not alike(marks[0].grid, marks[1].grid)
    assert duplicates(marks) == {}


@given(st.lists(st.integers(0, 2**192 - 1), max_size=30), st.integers(0, 11), st.randoms(use_true_random=False))
@settings(max_examples=50, deadline=None)
def test_search_for_copies_equals_brute_force(marks: list[int], most: int, random: object) -> None:
    marks = marks + [m ^ (1 << random.randrange(192)) for m in marks[:5]]  # type: ignore[attr-defined]
    kept: list[int] = []
    want = {}
    for i, m in enumerate(marks):
        twins = [j for j in kept if (marks[j] ^ m).bit_count() <= most]
        if twins:
            want[i] = twins[0]
        else:
            kept.append(i)
    assert duplicates([Look(m, bytes(3 * 16 * 16)) for m in marks], most) == want


def test_sources_of_every_kind(tmp_path: Path) -> None:
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    for name in ("x.mp4", "y.MOV", "z.txt"):
        (inner / name).write_bytes(name.encode())
    (tmp_path / "list.csv").write_text("path,note\na/b/x.mp4,hi\n")
    (tmp_path / "list.jsonl").write_text(json.dumps({"path": "a/b/y.MOV"}) + "\n\n")
    with tarfile.open(tmp_path / "t.tar", "w") as tar:
        tar.add(inner / "x.mp4", "s/1.mp4")
        tar.add(inner / "z.txt", "s/1.txt")

    def names(*places: str) -> list[str]:
        return [Path(s.member or s.path).name for s in find([str(tmp_path / p) for p in places])]

    assert names("a") == ["x.mp4", "y.MOV"]
    assert names("list.csv") == ["x.mp4"] and names("list.jsonl") == ["y.MOV"]
    assert names("a", "list.csv", "a/b/*.mp4") == ["x.mp4", "y.MOV"], "each video once"
    assert names("t.tar") == ["1.mp4"]
    assert find([str(tmp_path / "t.tar")])[0].open() == b"x.mp4"


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("l.csv", "file\na.mp4\n", 'has no "path"'),
        ("l.jsonl", "{oops", "manifest"),
        ("t.tar", "no", "not a readable tar"),
    ],
)
def test_bad_places_say_so(tmp_path: Path, name: str, text: str, says: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(SfvError, match=says):
        find([str(tmp_path / name)])
    with pytest.raises(SfvError, match="holds no videos"):
        (tmp_path / "empty").mkdir(exist_ok=True)
        find([str(tmp_path / "empty")])
    with pytest.raises(SfvError, match="matches nothing"):
        find([str(tmp_path / "*.mp4")])
