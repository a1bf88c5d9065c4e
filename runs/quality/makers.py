"""Sixty pictures as makers bring them, each as one command would animate it, on contact sheets for people to judge.

    python runs/quality/makers.py SOURCES FOLDER [--model MODEL] [--only NAME ...]

SOURCES holds emoji_128/stills.zip (of which only unseen ones are used), photos_512/photos_512.zip and a folder `odd` of
pictures that cameras, phones and tools leave behind. What is in neither is drawn here: banners, logos, letters, cards,
icons, gradients. FOLDER gets a sheet of ten pictures each, 01.png to 06.png, and pictures.json: what was asked for each
and what came of it. A row is the picture and seven of its clip's frames. Judgements are people's and stand in
docs/results/makers.json, by the names that this script gives.
"""

import argparse
import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from PIL import Image, ImageDraw, ImageFilter
from stills_sheet import SHOWN, drawn, pictures
from torch import Tensor
from tqdm import tqdm

import sfv
from sfv.media import contact_sheet, lettering, read_picture, read_sticker, write_picture
from sfv.media.pictures import AnyPicture, fit, over_white

CELL = 144
"""Pixels of a frame on the sheet."""
Asked = tuple[Callable[[], AnyPicture], dict[str, Any]]
"""How a picture is read, and what is asked for beside the defaults."""
STILLS = 18
PHOTOS = 7
WORDS = ("sway", "nod", "bounce", "pulse", "squash", "shake", "float", "spin", "wave")


def collected(sources: Path) -> dict[str, Asked]:
    """Name -> picture and request."""
    found: dict[str, Asked] = {}
    stills = pictures(sources / "emoji_128" / "stills.zip", "rigid")
    names = drawn(stills, STILLS + len(WORDS), 22)
    found |= {f"emoji: {n}": (stills[n], {}) for n in names[:STILLS]}
    for word, n in zip(WORDS, names[STILLS:], strict=True):
        found[f"{word}: {n}"] = (stills[n], {"move": word})
    found |= photos(sources / "photos_512" / "photos_512.zip")
    found |= made()
    found |= odd(sources / "odd")
    return found


def photos(place: Path) -> dict[str, Asked]:
    """Some, evenly spread by name."""
    archive = zipfile.ZipFile(place)
    every = sorted(n for n in archive.namelist() if n.lower().endswith((".jpg", ".jpeg", ".png", ".webp")))
    chosen = every[:: max(1, len(every) // PHOTOS)][:PHOTOS]
    return {f"photo: {Path(n).stem}": (lambda n=n: read_picture(io.BytesIO(archive.read(n))), {}) for n in chosen}  # type: ignore[misc]


def odd(folder: Path) -> dict[str, Asked]:
    """Wide gamut, turned by EXIF, grey of 16 bit, palettes, CMYK; transparent ones stay so."""
    plain = (
        "p1_display_p3.png",
        "p2_exif6.jpg",
        "p5_grey16.png",
        "p5_cmyk.jpg",
        "p5_L_trns.png",
        "p4_banner.png",
        "p5_p.gif",
    )
    clear = ("p5_palette_alpha.png", "p6_sticker.png", "p6_half.png")
    found: dict[str, Asked] = {n: (lambda n=n: read_picture(folder / n), {}) for n in plain}  # type: ignore[misc]
    found |= {n: (lambda n=n: read_sticker(folder / n), {"transparent": True}) for n in clear}  # type: ignore[misc]
    return found


def made() -> dict[str, Asked]:
    """Drawn here: what makers bring beside emoji and photos."""
    ink, red, blue = (34, 34, 38), (220, 50, 60), (40, 90, 200)
    word = lambda text, size, *c: over_white(lettering(text, size, *c))  # noqa: E731
    return {
        "word: SALE": (lambda: word("SALE", 320, (255, 255, 255), red), {}),
        "word: Thank you": (lambda: word("Thank you", 400, ink), {}),
        "word, clear: OK": (lambda: lettering("OK", 256, (255, 255, 255), blue), {"transparent": True}),
        "banner 2000x300": (lambda: canvas(2000, 300, (250, 240, 220), banner), {}),
        "portrait 300x600": (lambda: canvas(300, 600, (240, 250, 255), person), {}),
        "card 500x320": (lambda: canvas(500, 320, (255, 255, 255), card), {}),
        "icon 16x16": (lambda: fit(canvas(256, 256, (255, 255, 255), heart), 16, 16), {}),
        "icon 32x32": (lambda: fit(canvas(256, 256, (255, 255, 255), person), 32, 32), {}),
        "heart on black": (lambda: canvas(256, 256, (0, 0, 0), heart), {}),
        "heart on colour": (lambda: canvas(256, 256, (250, 210, 90), heart), {}),
        "heart on gradient": (gradient_heart, {}),
        "person 1024": (lambda: canvas(1024, 1024, (255, 255, 255), person), {}),
        "ring logo": (lambda: canvas(400, 400, (255, 255, 255), ring), {}),
        "ring logo, spin": (lambda: canvas(400, 400, (255, 255, 255), ring), {"move": "spin"}),
        "child's drawing": (lambda: canvas(480, 360, (255, 255, 255), scribble), {}),
        "heart 800x600 --size 320x320": (lambda: canvas(800, 600, (255, 255, 255), heart), {"size": "320x320"}),
    }


def canvas(
    width: int, height: int, ground: tuple[int, int, int], paint: Callable[[ImageDraw.ImageDraw, int, int], None]
) -> Tensor:
    """A picture drawn at twice its size, so that edges are smooth."""
    image = Image.new("RGB", (2 * width, 2 * height), ground)
    paint(ImageDraw.Draw(image), 2 * width, 2 * height)
    return read_bytes(image.resize((width, height), Image.Resampling.LANCZOS))


def read_bytes(image: Image.Image) -> Tensor:
    out = io.BytesIO()
    image.save(out, "PNG")
    return read_picture(io.BytesIO(out.getvalue()))


def heart(d: ImageDraw.ImageDraw, w: int, h: int) -> None:
    s, x, y = min(w, h), w / 2, h / 2
    for side in (-1, 1):
        d.ellipse(
            (x + side * s * 0.15 - s * 0.17, y - s * 0.3, x + side * s * 0.15 + s * 0.17, y + s * 0.04),
            fill=(225, 40, 70),
        )
    d.polygon([(x - s * 0.305, y - s * 0.06), (x + s * 0.305, y - s * 0.06), (x, y + s * 0.33)], fill=(225, 40, 70))


def person(d: ImageDraw.ImageDraw, w: int, h: int) -> None:
    s, x, y = min(w, h), w / 2, h / 2
    d.rounded_rectangle((x - s * 0.28, y + s * 0.05, x + s * 0.28, y + s * 0.45), s * 0.15, fill=(60, 120, 200))
    d.ellipse((x - s * 0.2, y - s * 0.38, x + s * 0.2, y + s * 0.06), fill=(245, 205, 165))
    d.pieslice((x - s * 0.22, y - s * 0.44, x + s * 0.22, y - s * 0.02), 180, 360, fill=(90, 55, 30))
    for side in (-1, 1):
        d.ellipse(
            (x + side * s * 0.08 - s * 0.02, y - s * 0.16, x + side * s * 0.08 + s * 0.02, y - s * 0.11),
            fill=(30, 30, 30),
        )
    d.arc((x - s * 0.08, y - s * 0.14, x + s * 0.08, y - s * 0.01), 30, 150, fill=(150, 60, 60), width=max(2, s // 60))


def banner(d: ImageDraw.ImageDraw, w: int, h: int) -> None:
    for i in range(7):
        x = w * (i + 0.5) / 7
        d.ellipse(
            (x - h * 0.3, h * 0.2, x + h * 0.3, h * 0.8), fill=((230, 80, 60), (60, 140, 220), (90, 180, 90))[i % 3]
        )


def card(d: ImageDraw.ImageDraw, w: int, h: int) -> None:
    d.rounded_rectangle((w * 0.06, h * 0.08, w * 0.94, h * 0.92), h * 0.06, fill=(30, 60, 90))
    for i, wide in enumerate((0.5, 0.7, 0.35)):
        d.rectangle((w * 0.14, h * (0.3 + 0.15 * i), w * (0.14 + wide), h * (0.36 + 0.15 * i)), fill=(255, 255, 255))


def ring(d: ImageDraw.ImageDraw, w: int, h: int) -> None:
    d.ellipse((w * 0.15, h * 0.15, w * 0.85, h * 0.85), fill=(20, 140, 130))
    d.ellipse((w * 0.35, h * 0.35, w * 0.65, h * 0.65), fill=(255, 255, 255))
    d.polygon([(w * 0.5, h * 0.1), (w * 0.58, h * 0.28), (w * 0.42, h * 0.28)], fill=(240, 160, 40))


def scribble(d: ImageDraw.ImageDraw, w: int, h: int) -> None:
    pen = {"fill": (50, 50, 160), "width": w // 60}
    d.ellipse((w * 0.38, h * 0.12, w * 0.62, h * 0.44), outline=(50, 50, 160), width=w // 60)
    for line in ((0.5, 0.44, 0.5, 0.72), (0.5, 0.72, 0.4, 0.92), (0.5, 0.72, 0.6, 0.92), (0.3, 0.5, 0.7, 0.56)):
        d.line([(w * line[0], h * line[1]), (w * line[2], h * line[3])], **pen)
    d.line([(w * 0.45, h * 0.34), (w * 0.5, h * 0.37), (w * 0.55, h * 0.34)], **pen)


def gradient_heart() -> Tensor:
    ramp = torch.linspace(255, 120, 512)[:, None, None].expand(512, 512, 3) * torch.tensor([1.0, 0.8, 0.9])
    image = Image.fromarray(ramp.byte().numpy()).filter(ImageFilter.GaussianBlur(1))
    heart(ImageDraw.Draw(image), 512, 512)
    return read_bytes(image.resize((256, 256), Image.Resampling.LANCZOS))


def row(model: sfv.VideoModel, asked: Asked) -> tuple[Tensor, dict[str, Any]]:
    """The picture and frames of its clip, fitted to the sheet, and what was decided on the way."""
    read, how = asked
    clip = sfv.generate(model, read(), **how)
    at = torch.linspace(0, len(clip.frames) - 1, SHOWN + 1)[1:].round().long()
    shown = [clip.picture, *clip.frames[at]]
    step = (clip.frames[1:].float() - clip.frames[:-1].float()).abs().mean()
    facts = {
        "asked": how,
        "size": list(clip.frames.shape[1:3]),
        "stiff": clip.settings.stiff,
        "step": round(float(step), 3),
    }
    return torch.stack([fit(f, CELL, CELL, "pad", "#dddddd") for f in shown]), facts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sources", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", default="sticker")
    parser.add_argument("--only", nargs="*", default=[], metavar="NAME")
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    model = sfv.optimize(sfv.load(given.model), "fast", "eager")
    wanted = {n: a for n, a in collected(given.sources).items() if not given.only or n in given.only}
    rows: list[tuple[str, Tensor]] = []
    facts: dict[str, Any] = {}
    for name, asked in tqdm(wanted.items(), unit="picture"):
        try:
            shown, facts[name] = row(model, asked)
            rows.append((name, shown))
        except sfv.SfvError as error:
            facts[name] = {"asked": asked[1], "refused": str(error)}
    for i in range(0, len(rows), 10):
        write_picture(contact_sheet(rows[i : i + 10]), given.folder / f"{i // 10 + 1:02}.png")
    report = {"model": given.model, "hash": model.hash, "pictures": facts}
    (given.folder / "pictures.json").write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
