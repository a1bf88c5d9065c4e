"""The exported folder without its weights."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sfv.browser import export
from sfv.browser.export import export_page
from sfv.families.load import model_folder


@pytest.fixture
def exported(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], Path]:
    """Writes the folder, with one short file each instead of networks and runtime."""

    def networks(_: Path, out: Path, stored: str, kept: Any) -> list[Path]:
        out.mkdir(parents=True, exist_ok=True)
        for name in ("unet.onnx", "onnx.json"):
            (out / name).write_text(stored)
        return [out / "unet.onnx"]

    def write(out: Path) -> Path:
        export_page(model_folder("sticker"), out)
        return out

    monkeypatch.setattr(export, "export_onnx", networks)
    monkeypatch.setattr(export, "draws", lambda model: False)
    monkeypatch.setattr(export, "runtime_files", lambda _: {"ort.js": b"runtime"})
    return write
