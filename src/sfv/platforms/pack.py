"""What a platform wants beside the stickers of a pack."""

import json
from pathlib import Path
from typing import Any

import sfv
from sfv.errors import SfvError
from sfv.media import fit_sticker, is_ours, read_sticker, write_picture
from sfv.system.files import replacing

FEWEST, MOST = 3, 30
"""Stickers of a WhatsApp pack."""
SMILE = ["\U0001f642"]
"""Of a sticker to which its maker has given no emoji."""
TRAY = 96
"""Pixels of its icon."""


def write_pack(name: str, stickers: list[Path], overwrite: bool = False) -> list[Path]:
    """`tray.png` and `contents.json` of WhatsApp's sample app beside stickers of one folder.

    Nothing for other platforms, or for fewer than a pack has. SfvError as `check_pack`.
    """
    check_pack(name, stickers, overwrite)
    if not _is_pack(name, stickers):
        return []
    tray, contents = _beside(stickers)
    folder = tray.parent
    icon = fit_sticker(read_sticker(stickers[0], opaque=True), TRAY, TRAY, "pad")
    write_picture(icon, tray, json.dumps({"sfv": sfv.__version__}))
    with replacing(contents) as beside:
        known = json.loads(contents.read_text()) if contents.exists() and _own(contents) else {}
        beside.write_text(json.dumps(_contents(folder.name, [s.name for s in stickers], known), indent=2) + "\n")
    return [tray, contents]


def check_pack(name: str, stickers: list[Path], overwrite: bool = False) -> None:
    """SfvError if a pack of these stickers would take the place of files that sfv did not write."""
    if not _is_pack(name, stickers):
        return
    for path, own in zip(_beside(stickers), (is_ours, _own), strict=True):
        if path.exists() and not overwrite and not own(path):
            raise SfvError(f"{path} is there and was not written by sfv; choose another --out, or give --overwrite")


def _is_pack(name: str, stickers: list[Path]) -> bool:
    return name == "whatsapp" and FEWEST <= len(stickers) <= MOST and len({s.parent for s in stickers}) == 1


def _beside(stickers: list[Path]) -> tuple[Path, Path]:
    return stickers[0].parent / "tray.png", stickers[0].parent / "contents.json"


def _contents(folder: str, files: list[str], known: dict[str, Any]) -> dict[str, Any]:
    """In the form of the sample app's asset; names, publisher and emojis are for the maker to fill.

    What the maker has filled in, in the pack that is `known`, stays.
    """
    packs = known.get("sticker_packs")
    mine = packs[0] if isinstance(packs, list) and packs and isinstance(packs[0], dict) else {}
    theirs = [s for s in mine.get("stickers", []) if isinstance(s, dict)]
    emojis = {s.get("image_file"): s.get("emojis", SMILE) for s in theirs}
    pack = {
        "identifier": folder or "pack",
        "name": folder or "pack",
        "publisher": "sfv",
        "tray_image_file": "tray.png",
        "image_data_version": "1",
        "avoid_cache": False,
        "animated_sticker_pack": True,
        **{k: v for k, v in mine.items() if k != "stickers"},
        "stickers": [{"image_file": file, "emojis": emojis.get(file, SMILE)} for file in files],
    }
    links = {"android_play_store_link": "", "ios_app_store_link": ""}
    return links | known | {"sfv": sfv.__version__, "sticker_packs": [pack]}


def _own(path: Path) -> bool:
    try:
        kept = json.loads(path.read_text())
    except (OSError, ValueError):
        return False
    return isinstance(kept, dict) and "sfv" in kept
