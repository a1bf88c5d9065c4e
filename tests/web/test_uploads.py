"""What comes from outside, before anything is made of it."""

import asyncio
import io
import json
import zlib
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from starlette.types import Message, Receive, Scope, Send

from sfv.errors import UploadError
from sfv.media import pictures
from sfv.web.middleware import FORM_ROOM, guarded
from sfv.web.uploads import Limits, checked_layers, checked_picture


def picture(kind: str = "PNG", size: tuple[int, int] = (40, 24), mode: str = "RGB") -> bytes:
    """A picture file of random pixels."""
    channels = 4 if mode == "RGBA" else 3
    pixels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], channels), np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, kind)
    return out.getvalue()


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF", "AVIF"])
def test_every_format_is_told_by_its_bytes(kind: str) -> None:
    assert checked_picture(picture(kind)).shape == (24, 40, 3)


def test_heic_is_taken_where_it_can_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pillow_heif").register_heif_opener()
    data = picture("HEIF")
    assert checked_picture(data).shape == (24, 40, 3)
    monkeypatch.setattr("sfv.web.uploads.admit_heif", lambda: False)
    with pytest.raises(UploadError, match="HEIC, which this server does not read") as refused:
        checked_picture(data)
    assert refused.value.status == 415


def test_transparency_is_kept_or_laid_over_a_colour() -> None:
    assert checked_picture(picture(mode="RGBA"), transparent=True).shape == (24, 40, 4)
    assert checked_picture(picture(mode="RGBA"), background="black").shape == (24, 40, 3)


def saved(kind: str, mode: str) -> bytes:
    """A picture file of a mode of Pillow's."""
    out = io.BytesIO()
    image = Image.open(io.BytesIO(picture(mode="RGBA")))
    if mode == "I;16":
        image = Image.fromarray(np.arange(40 * 24, dtype=np.uint16).reshape(24, 40) * 60)
    elif mode == "clear P":
        image = image.convert("RGB").quantize(16)
        image.info["transparency"] = 3
    else:
        image = image.convert(mode)
    image.save(out, kind)
    return out.getvalue()


@pytest.mark.parametrize(
    ("kind", "mode"),
    [
        *(("PNG", mode) for mode in ("RGB", "RGBA", "L", "LA", "1", "I;16", "clear P")),
        ("JPEG", "RGB"),
        ("JPEG", "CMYK"),
        ("GIF", "P"),
        ("WEBP", "RGBA"),
        ("TIFF", "CMYK"),
    ],
)
def test_both_layers_of_one_decoding_are_those_of_two(kind: str, mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    data, opened = saved(kind, mode), []
    apart = checked_picture(data)
    try:
        clear = checked_picture(data, transparent=True)
    except UploadError:
        clear = None
    read = pictures._read
    monkeypatch.setattr(pictures, "_read", lambda *given: opened.append(1) or read(*given))
    rgb, rgba = checked_layers(data)
    assert len(opened) == 1 and rgb.is_contiguous()
    assert torch.equal(rgb, apart) and (clear is None) == (rgba is None)
    assert clear is None or rgba is None or torch.equal(rgba, clear)


REFUSED = {
    "nothing": (b"", 400),
    "text": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", 415),
    "targa, which has no magic number": (picture("TGA"), 415),
    "postscript": (b"%!PS-Adobe-3.0 EPSF-3.0\n", 415),
    "cut short": (picture()[:200], 422),
    "header alone": (picture()[:20], 422),
    "too small": (picture(size=(4, 40)), 422),
    "too many pixels": (picture(size=(200, 200)), 413),
    "too many bytes": (picture("BMP", (90, 90)), 413),
    "nowhere transparent": (picture(), 422),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refusals_are_one_sentence_with_a_status(name: str) -> None:
    data, status = REFUSED[name]
    with pytest.raises(UploadError) as caught:
        checked_picture(data, Limits(body=2 * 10**5 if "pixels" in name else 10**4, pixels=10**4), "nowhere" in name)
    assert caught.value.status == status and "\n" not in str(caught.value) and len(str(caught.value)) < 200


def test_a_bomb_is_refused_by_its_header() -> None:
    data = bytearray(picture())
    data[16:24] = (60_000).to_bytes(4, "big") * 2
    data[29:33] = zlib.crc32(bytes(data[12:29])).to_bytes(4, "big")
    with pytest.raises(UploadError, match="60000x60000|impossible size") as caught:
        checked_picture(bytes(data))
    assert caught.value.status in (413, 422)


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers with the number of bytes it was sent."""
    count, more = 0, True
    while more:
        message = await receive()
        count, more = count + len(message.get("body", b"")), message.get("more_body", False)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": str(count).encode()})


async def swallowing(scope: Scope, receive: Receive, send: Send) -> None:
    """An application that turns every error into its own answer, as frameworks do."""
    try:
        await echo(scope, receive, send)
    except Exception:
        await send({"type": "http.response.start", "status": 500, "headers": []})
        await send({"type": "http.response.body", "body": b""})


def ask(app: Any, chunks: list[bytes], headers: dict[str, str], stall: bool = False) -> tuple[int, dict, bytes]:
    """Status, headers and body that the application behind its guard gives to one POST."""
    sent: list[Message] = []
    waiting = [
        {"type": "http.request", "body": c, "more_body": stall or i + 1 < len(chunks)} for i, c in enumerate(chunks)
    ]

    async def receive() -> Message:
        if not waiting:
            await asyncio.sleep(60)
        return waiting.pop(0)

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/",
        "headers": [(k.encode(), v.encode()) for k, v in headers.items()],
    }
    asyncio.run(guarded(app, 100, seconds=0.2, origins=("https://a.example",))(scope, receive, send))
    assert [m["type"] for m in sent].count("http.response.start") == 1
    return sent[0]["status"], dict(sent[0]["headers"]), b"".join(m.get("body", b"") for m in sent[1:])


@pytest.mark.parametrize("app", [echo, swallowing])
def test_bodies_are_counted_as_they_come(app: Any) -> None:
    limit = 100 + FORM_ROOM
    assert ask(app, [b"x" * limit], {})[::2] == (200, str(limit).encode())
    assert ask(app, [b"x" * limit, b"y"], {"content-length": "3"})[0] == 413
    status, _, body = ask(app, [b""], {"content-length": str(limit + 1)})
    assert status == 413 and "more than" in json.loads(body)["error"]["message"]


@pytest.mark.parametrize("app", [echo, swallowing])
def test_a_body_that_never_comes_is_given_up(app: Any) -> None:
    assert ask(app, [b"x"], {}, stall=True)[0] == 408


def test_headers_forbid_what_is_not_needed() -> None:
    _, headers, _ = ask(echo, [b""], {})
    assert headers[b"x-content-type-options"] == b"nosniff" and headers[b"referrer-policy"] == b"no-referrer"
    assert b"frame-ancestors 'none'" in headers[b"content-security-policy"]
    assert b"access-control-allow-origin" not in headers


def test_cors_is_for_those_named() -> None:
    assert ask(echo, [b""], {"origin": "https://a.example"})[1][b"access-control-allow-origin"] == b"https://a.example"
    assert b"access-control-allow-origin" not in ask(echo, [b""], {"origin": "https://b.example"})[1]


@pytest.mark.parametrize(
    ("origin", "status"),
    [("https://a.example", 200), ("http://127.0.0.1:8000", 200), ("https://b.example", 403), ("null", 403)],
)
def test_pages_of_other_sites_may_not_ask(origin: str, status: int) -> None:
    assert ask(echo, [b""], {"origin": origin, "host": "127.0.0.1:8000"})[0] == status
