"""Files of every platform pass its own rules, whoever reads them; what cannot be is one sentence."""

import json
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from av.video.reformatter import Colorspace
from PIL import Image

from sfv.batch.platform_files import animate_for
from sfv.batch.platform_names import plan_for
from sfv.cli.main import main
from sfv.errors import SfvError
from sfv.families.motion import folder as motion_folder
from sfv.families.motion.networks import TINY_MOTION, new_motion_model
from sfv.generation.clip import Clip
from sfv.media import file_facts, own_note, read_clip, write_clip
from sfv.media.webm import read_clear
from sfv.platforms import write
from sfv.platforms.check import check_sticker
from sfv.platforms.pack import write_pack
from sfv.platforms.request import settings_for
from sfv.platforms.table import ATTEMPTS, PLATFORMS
from sfv.platforms.write import write_for
from sfv.settings import Settings


def disc(height: int, width: int, frames: int = 24, noise: int = 0) -> torch.Tensor:
    """A coloured disc that goes round on a clear ground, RGBA; `noise` levels make it hard to press."""
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    rng, made = torch.Generator().manual_seed(0), []
    for k in range(frames):
        angle = torch.tensor(2 * torch.pi * k / frames)
        inside = (x - width * (0.5 + 0.1 * angle.cos())) ** 2 + (y - height * (0.5 + 0.1 * angle.sin())) ** 2
        alpha = ((inside < (0.3 * min(height, width)) ** 2) * 255).byte()
        colour = torch.stack([x * 255 // width, y * 255 // height, torch.full_like(x, 90)], -1)
        colour = (colour + torch.randint(-noise, noise + 1, colour.shape, generator=rng)).clamp(0, 255)
        made.append(torch.cat([colour.byte(), alpha[..., None]], -1))
    return torch.stack(made)


def clip(name: str, noise: int = 0, seconds: float = 3.0, frames: int = 24) -> Clip:
    """As `generate` would give it for a platform."""
    height, width = PLATFORMS[name].exact or (int(PLATFORMS[name].size), int(PLATFORMS[name].size) // 2)
    rgba = disc(height, width, frames, noise)
    settings = settings_for(Settings(play_fps=frames / seconds), name, True)
    alpha = rgba[..., 3:]
    white = (rgba[..., :3] * (alpha / 255) + 255 - alpha.float()).round().clamp(0, 255).byte()
    shown = None if not settings.transparent else alpha
    return Clip(white, torch.zeros(1, frames, 1, 1, 1), white[0], settings, 1, {}, None, shown)


@pytest.mark.parametrize("name", PLATFORMS)
def test_every_platforms_file_passes_its_rules(name: str, tmp_path: Path) -> None:
    path = tmp_path / f"clip.{PLATFORMS[name].format}"
    written = write_for(clip(name), name, str(path), '{"sfv": "x"}')
    wrong = [r for r in check_sticker(path, name) if not r.ok]
    assert not wrong and written.bytes == path.stat().st_size and own_note(path) == {"sfv": "x"}
    facts = file_facts(path)
    assert facts.clear is PLATFORMS[name].clear or facts.format == "gif"
    assert abs(facts.seconds - 3) < 0.06 and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(("seconds", "times"), [(1, 4), (1.5, 2), (2, 2), (3, 1), (4, 1)])
def test_lines_stickers_say_how_often_they_are_shown(seconds: float, times: int, tmp_path: Path) -> None:
    """Up to four times, together no longer than four seconds; others go on for ever."""
    made = clip("line", seconds=seconds, frames=8)
    write_for(made, "line", tmp_path / "a.png")
    assert b"acTL" + struct.pack(">II", 8, times) in (tmp_path / "a.png").read_bytes()
    found = {r.rule: r for r in check_sticker(tmp_path / "a.png", "line")}["shown 1 to 4 times, 4 s in all"]
    assert found.ok and found.found == f"{times} times, {times * seconds:.3f} s"


@pytest.mark.parametrize(("plays", "said"), [(0, "for ever"), (2, "2 times, 6.000 s"), (5, "5 times, 15.000 s")])
def test_a_line_sticker_that_is_shown_too_long_fails(plays: int, said: str, tmp_path: Path) -> None:
    write_clip(disc(270, 270, 6), tmp_path / "a.png", 2, plays=plays)
    (wrong,) = [r for r in check_sticker(tmp_path / "a.png", "line") if not r.ok]
    assert wrong.found == said


@pytest.mark.parametrize("ending", ["gif", "webp", "png"])
@pytest.mark.parametrize("plays", [0, 1, 3])
def test_how_often_an_animation_is_shown_is_read_back(ending: str, plays: int, tmp_path: Path) -> None:
    write_clip(disc(16, 16, 3), tmp_path / f"a.{ending}", 10, plays=plays)
    assert file_facts(tmp_path / f"a.{ending}").plays == plays


def test_slack_gets_fifty_frames_at_most(tmp_path: Path) -> None:
    """It refuses more."""
    written = write_for(clip("slack", frames=72), "slack", tmp_path / "a.gif")
    assert written.frames == file_facts(tmp_path / "a.gif").frames == 50
    write_clip(disc(128, 128, 51), tmp_path / "b.gif", 20)
    assert [r.rule for r in check_sticker(tmp_path / "b.gif", "slack") if not r.ok] == ["2 to 50 frames"]


@pytest.mark.parametrize("name", ["slack", "discord", "whatsapp"])
def test_what_is_hard_to_press_is_pressed_until_it_fits(name: str, tmp_path: Path) -> None:
    path = tmp_path / f"clip.{PLATFORMS[name].format}"
    easy, hard = (write_for(clip(name, noise), name, path) for noise in (0, 60))
    assert all(r.ok for r in check_sticker(path, name))
    assert hard.fps < easy.fps or (hard.level or 999) < (easy.level or 999)


def test_a_limit_that_cannot_be_met_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    narrow = PLATFORMS["slack"].model_copy(update={"most_bytes": 900})
    monkeypatch.setattr(write, "platform", lambda name: narrow)
    (tmp_path / "clip.gif").write_text("somebody's")
    with pytest.raises(SfvError, match=r"clip.gif: slack takes 0.878906 KB at most, and the smallest try has \d+ KB"):
        write_for(clip("slack", 60), "slack", tmp_path / "clip.gif")
    assert (tmp_path / "clip.gif").read_text() == "somebody's" and len(list(tmp_path.iterdir())) == 1
    monkeypatch.undo()
    with pytest.raises(SfvError, match="lasts 6.00 s; signal takes 3 s at most: give --seconds"):
        write_for(clip("signal", seconds=6), "signal", tmp_path / "a.png")


@pytest.mark.parametrize(
    ("settings", "name", "said"),
    [
        (Settings(size="512"), "slack", "--for slack and --size 512 contradict each other: slack takes 128x128"),
        (Settings(height=64), "slack", "chooses the size itself"),
        (Settings(seconds=5), "telegram", "--for telegram and --seconds 5: it takes 3 s at most"),
        (Settings(background="red"), "line", "keeps what is clear: leave --background out"),
        (
            Settings(fit="own"),
            "slack",
            "--for slack and --fit own contradict each other: slack takes 128x128; leave fit",
        ),
        (Settings(), "myspace", "no such platform; choose from telegram, telegram-emoji, whatsapp"),
    ],
)
def test_contradictions_are_one_sentence(settings: Settings, name: str, said: str) -> None:
    with pytest.raises(SfvError, match=said):
        settings_for(settings, name, True)


@pytest.mark.parametrize("name", PLATFORMS)
@pytest.mark.parametrize("fit", [None, "own", "pad", "crop"])
def test_what_a_platform_asks_for_are_settings(name: str, fit: Any) -> None:
    """Or one sentence: what is changed in them is not checked by itself."""
    try:
        asked = settings_for(Settings(fit=fit), name, True)
    except SfvError:
        assert fit == "own" and PLATFORMS[name].exact
    else:
        assert Settings.model_validate(asked.model_dump()) == asked


def test_transparency_that_is_asked_for_is_kept(model: Path, tmp_path: Path) -> None:
    """Of a platform whose files are opaque unless that is said."""
    for clear in (True, False):
        (report,) = animate_for([picture(tmp_path / "a.png")], str(model), Settings(transparent=clear), ["gif"])
        with Image.open(report["out"]) as made:
            corner = made.convert("RGBA").getpixel((0, 0))
        assert corner[3] == (0 if clear else 255), corner


@pytest.mark.parametrize(("play_fps", "frames"), [(2.5, 8), (2.4, 7), (24, 72)])
def test_a_round_of_rounded_frames_lasts_what_was_asked(play_fps: float, frames: int, tmp_path: Path) -> None:
    """3 seconds at 2.5 frames a second are 7.5 frames."""
    full = settings_for(Settings(fps=8, frames=24, play_fps=play_fps), "telegram", True)
    made = replace(clip("telegram", frames=frames), settings=full)
    written = write_for(made, "telegram", tmp_path / "a.webm")
    assert written.frames / written.fps == pytest.approx(3)
    assert all(r.ok for r in check_sticker(tmp_path / "a.webm", "telegram"))
    both = replace(made, settings=full.model_copy(update={"boomerang": True, "play_fps": 2.0}))
    with pytest.raises(SfvError, match="telegram takes 3 s at most"):
        write_for(both, "telegram", tmp_path / "a.webm")


def test_no_two_platforms_files_have_one_name(tmp_path: Path) -> None:
    """What follows telegram's name here begins as telegram-emoji's does."""
    pictures = [picture(tmp_path / f"{stem}.png") for stem in ("a", "-emojia")]
    names = ["telegram", "telegram-emoji"]
    _, files = plan_for(pictures, Settings(), names, tmp_path / "out", False, "{platform}{stem}")
    found = [path for targets in files.values() for path in targets]
    assert len(set(found)) == len(found) == 4


def test_tries_grow_smaller() -> None:
    """The search halves the list, so that a try must not be larger than the one before it."""
    for format, tries in ATTEMPTS.items():
        rates = [fps for fps, _ in tries]
        assert rates == sorted(rates, reverse=True), format


def test_a_transparent_webm_keeps_its_alpha(tmp_path: Path) -> None:
    frames = disc(64, 96, 6)
    write_clip(frames, tmp_path / "a.webm", 12, level=10)
    again = read_clear(tmp_path / "a.webm")
    assert again.shape == (6, 64, 96, 4)
    assert np.abs(again[..., 3].astype(int) - frames[..., 3].numpy()).mean() < 3
    write_clip(frames[..., :3], tmp_path / "b.webm", 12)
    assert (file_facts(tmp_path / "a.webm").clear, file_facts(tmp_path / "b.webm").clear) == (True, False)


@pytest.mark.parametrize("side", [64, 640])
@pytest.mark.parametrize("clear", [False, True])
def test_a_webm_has_its_colours_back(side: int, clear: bool, tmp_path: Path) -> None:
    """Players take what is not tagged for BT.601 when it is small, and for BT.709 when it is large."""
    colours = torch.tensor([[220, 40, 60], [50, 200, 70], [60, 70, 210], [230, 190, 40]], dtype=torch.uint8)
    frames = colours.repeat_interleave(side // 4, 0)[None, :, None].expand(2, side, side, 3)
    given = torch.cat([frames, torch.full_like(frames[..., :1], 255)], -1) if clear else frames
    write_clip(given, tmp_path / "a.webm", 10, level=4)
    with av.open(str(tmp_path / "a.webm")) as container:
        assert container.streams.video[0].codec_context.colorspace == Colorspace.ITU709
    shown = [read_clip(tmp_path / "a.webm").numpy()] + [read_clear(tmp_path / "a.webm")[..., :3]] * clear
    middles = side // 8 + side // 4 * np.arange(4)
    for got in shown:
        assert np.abs(got[:, middles, side // 2].astype(int) - colours.numpy()).max() <= 5


@pytest.mark.parametrize(
    ("make", "name", "failing"),
    [
        (
            lambda p: Image.new("RGBA", (512, 512), "red").save(p, "WEBP"),
            "whatsapp",
            {"2 to 1000 frames", "at most 10 s", "every frame at least 8 ms"},
        ),
        (lambda p: write_clip(disc(100, 200), p, 24), "discord", {"320x320"}),
        (lambda p: write_clip(disc(320, 320, 30, 99), p, 5), "discord", {"at most 512 KB", "at most 5 s"}),
    ],
)
def test_foreign_files_fail_where_they_should(tmp_path: Path, make: Any, name: str, failing: set[str]) -> None:
    path = tmp_path / f"theirs.{PLATFORMS[name].format}"
    make(path)
    assert {r.rule for r in check_sticker(path, name) if not r.ok} == failing


def test_other_containers_are_named(tmp_path: Path) -> None:
    write_clip(disc(64, 64, 12)[..., :3], tmp_path / "a.mp4", 12)
    first = check_sticker(tmp_path / "a.mp4", "telegram")[0]
    assert not first.ok and first.found == "MP4 with h264"
    (tmp_path / "b.png").write_text("no picture")
    with pytest.raises(SfvError, match="b.png is no animation that can be read"):
        check_sticker(tmp_path / "b.png", "line")
    with pytest.raises(SfvError, match="c.png does not exist"):
        check_sticker(tmp_path / "c.png", "line")
    with pytest.raises(SfvError, match="is a folder; name a file"):
        check_sticker(tmp_path, "line")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model") / "tiny"
    motion_folder.save(new_motion_model(TINY_MOTION, 0), folder)
    return folder


def picture(path: Path, clear: bool = True) -> Path:
    rgba = disc(64, 48, 1)[0].numpy()
    Image.fromarray(rgba if clear else rgba[..., :3]).save(path)
    return path


def test_files_of_every_picture_and_a_pack(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pictures = [picture(tmp_path / f"{c}.png", c != "b") for c in "abc"] + [tmp_path / "d.png"]
    (tmp_path / "d.png").write_text("broken")
    out = tmp_path / "out"
    words = ["generate", *map(str, pictures), "--for", "whatsapp", "slack", "-o", str(out), "--model", str(model)]
    assert main(words) == 1
    text = capsys.readouterr()
    assert "6 made, 2 failed" in text.out and "d.png is not a picture" in text.err
    assert main(["check-sticker", str(out / "a-slack.gif"), "--for", "slack"]) == 0
    assert main(["check-sticker", str(out / "b-whatsapp.webp"), "--for", "whatsapp", "--json"]) == 0
    assert main(["check-sticker", str(out / "a-slack.gif"), "--for", "line"]) == 1
    contents = json.loads((out / "contents.json").read_text())
    (pack,) = contents["sticker_packs"]
    assert [s["image_file"] for s in pack["stickers"]] == [f"{c}-whatsapp.webp" for c in "abc"]
    assert pack["animated_sticker_pack"] is True
    with Image.open(out / pack["tray_image_file"]) as tray:
        assert tray.size == (96, 96) and (out / "tray.png").stat().st_size <= 50 * 1024
    assert main(words) == 1, "the same again replaces its own files"
    assert len(list(out.iterdir())) == 8
    with pytest.raises(SfvError, match="was made for slack, whose limits leave no room"):
        from sfv.batch.replay import replay

        replay(out / "a-slack.gif")


def test_what_a_maker_fills_into_a_pack_stays(tmp_path: Path) -> None:
    stickers = [tmp_path / f"{c}.webp" for c in "abcd"]
    for path in stickers:
        write_clip(disc(512, 512, 2), path, 8)
    contents = write_pack("whatsapp", stickers[:3])[1]
    filled = json.loads(contents.read_text())
    filled["ios_app_store_link"] = "https://example.org"
    filled["sticker_packs"][0] |= {"name": "Cats", "publisher": "Me"}
    filled["sticker_packs"][0]["stickers"][1]["emojis"] = ["\U0001f431"]
    contents.write_text(json.dumps(filled))
    write_pack("whatsapp", stickers)
    again = json.loads(contents.read_text())
    (pack,) = again["sticker_packs"]
    assert (pack["name"], pack["publisher"], again["ios_app_store_link"]) == ("Cats", "Me", "https://example.org")
    assert [s["image_file"] for s in pack["stickers"]] == [s.name for s in stickers]
    assert pack["stickers"][1]["emojis"] == ["\U0001f431"] != pack["stickers"][0]["emojis"]


def test_other_peoples_files_stay(model: Path, tmp_path: Path) -> None:
    pictures = [picture(tmp_path / f"{c}.png") for c in "abc"]
    out = tmp_path / "out"
    out.mkdir()
    (out / "contents.json").write_text("{}")
    (out / "a-whatsapp.webp").write_text("mine")
    with pytest.raises(SfvError, match="contents.json is there and was not written by sfv"):
        list(animate_for(pictures, str(model), Settings(), ["whatsapp"], out))
    assert (out / "contents.json").read_text() == "{}" and (out / "a-whatsapp.webp").read_text() == "mine"
    assert sorted(p.name for p in out.iterdir()) == ["a-whatsapp.webp", "contents.json"], "said before any work"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--for", "telegram", "slack", "-o", "x.webm"], "names one file, but --for names 2 platforms"),
        (["--for", "telegram", "-o", "x.gif"], "telegram takes webm"),
        (["--for", "telegram", "--format", "gif"], "--format goes without --for"),
        (["--for", "myspace"], "no such platform"),
    ],
)
def test_wrong_flags_are_one_sentence(
    words: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["generate", str(picture(tmp_path / "a.png")), *words]) == 1
    assert said in capsys.readouterr().err
