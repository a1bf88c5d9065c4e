"""SVG drawings: drawn at a bounded size, from themselves alone."""

import gzip
from pathlib import Path

import pytest

from sfv.errors import SfvError
from sfv.media import drawings, read_picture, read_sticker
from sfv.media.drawings import MOST_BYTES, SIDE, drawn_svg

SHAPE = '<svg xmlns="http://www.w3.org/2000/svg" {}><rect x="10" y="5" width="20" height="10" fill="#0000ff"/>{}</svg>'
BOX = 'viewBox="0 0 40 20"'
pytest.importorskip("resvg_py")


def svg(folder: Path, text: str, name: str = "logo.svg") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_a_drawing_keeps_its_shape_and_what_is_clear(tmp_path: Path) -> None:
    path = svg(tmp_path, SHAPE.format(BOX, ""))
    sticker = read_sticker(path)
    assert sticker.shape == (SIDE // 2, SIDE, 4)
    assert sticker[SIDE // 4, SIDE // 2].tolist() == [0, 0, 255, 255] and sticker[2, 2, 3] == 0
    assert read_picture(path, "red")[2, 2].tolist() == [255, 0, 0]


@pytest.mark.parametrize(
    "attributes", ['width="400" height="200"', "width='4e1px' height='20.0px'", 'width="100%" ' + BOX]
)
def test_sizes_in_any_unit_give_one_shape(tmp_path: Path, attributes: str) -> None:
    assert read_picture(svg(tmp_path, SHAPE.format(attributes, ""))).shape == (SIDE // 2, SIDE, 3)


def test_a_packed_drawing_is_read(tmp_path: Path) -> None:
    path = tmp_path / "logo.svgz"
    path.write_bytes(gzip.compress(SHAPE.format(BOX, "").encode()))
    assert read_picture(path).shape == (SIDE // 2, SIDE, 3)


REFUSED = {
    "picture of another host": (
        SHAPE.format(BOX, '<image href="https://example.org/a.png"/>'),
        "refers to 'https://exa",
    ),
    "file": (SHAPE.format(BOX, "<image xlink:href='/etc/passwd' width='9'/>"), "refers to '/etc/passwd'"),
    "drawing inside": (
        SHAPE.format(BOX, '<image href="data:image/svg+xml;base64,AAAA"/>'),
        "refers to 'data:image/svg",
    ),
    "entities": ('<!DOCTYPE svg [<!ENTITY a "<image/>">]>' + SHAPE.format(BOX, "&a;"), "defines entities"),
    "endless": (SHAPE.format('viewBox="0 0 100000 1"', ""), "which is no shape for a clip"),
    "nothing": (SHAPE.format('viewBox="0 0 0 0"', ""), "which is no shape for a clip"),
    "text": ("hello", "is not an SVG drawing"),
    "cut": (SHAPE.format(BOX, "")[:-20], "cannot be drawn"),
    "nested": (SHAPE.format(BOX, "<g>" * 1000 + "</g>" * 1000), "cannot be drawn"),
    "huge": (SHAPE.format(BOX, " " * MOST_BYTES), "is larger than 2 MB"),
}


@pytest.mark.parametrize("what", list(REFUSED))
def test_what_is_not_drawn_is_one_sentence(tmp_path: Path, what: str) -> None:
    text, says = REFUSED[what]
    with pytest.raises(SfvError) as refused:
        read_picture(svg(tmp_path, text))
    assert says in str(refused.value) and "export it as PNG" in str(refused.value) and "\n" not in str(refused.value)


def test_a_packed_bomb_is_not_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "bomb.svgz"
    path.write_bytes(gzip.compress(b" " * (64 << 20)))
    with pytest.raises(SfvError, match="is larger than 2 MB"):
        drawn_svg(path)


def test_a_drawing_that_takes_too_long_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drawings, "DRAW", "import time; time.sleep(60)")
    monkeypatch.setattr(drawings, "PATIENCE", 0.2)
    with pytest.raises(SfvError, match=r"logo.svg cannot be drawn within 0.2 seconds; export it as PNG"):
        drawn_svg(svg(tmp_path, SHAPE.format(BOX, "")))
