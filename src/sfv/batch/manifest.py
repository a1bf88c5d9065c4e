"""What was done to which file, one JSON object per line: long work is resumed from it. Knows no model."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sfv.errors import SfvError

NAME = "manifest.jsonl"


class Manifest:
    """A folder's manifest.jsonl. A later line about the same clip replaces an earlier one.

    Paths are relative to the folder, so that it can be moved with its pictures. A line holds image, out, digest
    (of all that decides a clip but its picture), seconds, and the sizes in bytes of clip and picture with the
    picture's time of change; or image, digest and error.
    """

    def __init__(self, folder: Path, digest: str) -> None:
        """Read what is there; a last line cut short by a kill is ignored."""
        self.folder, self.digest = folder.absolute(), digest
        self.path = self.folder / NAME
        self.done: dict[str, dict[str, Any]] = {}
        for line in self._lines():
            if line.get("digest") == digest and isinstance(out := line.get("out"), str):
                self.done[out] = line

    def _lines(self) -> list[dict[str, Any]]:
        try:
            text = self.path.read_text()
        except FileNotFoundError:
            return []
        except (OSError, UnicodeDecodeError) as error:
            raise SfvError(f"{self.path} cannot be read ({error}); move it away to start again") from error
        found = [entry for line in text.splitlines() if isinstance(entry := _parsed(line), dict)]
        begun = text.startswith('{"image": ')  # a first line of ours that a kill cut short
        if text.strip() and not begun and not any({"image", "digest"} <= entry.keys() for entry in found):
            raise SfvError(f"{self.path} is there and was not written by sfv; move it, or choose another --out")
        return found

    def left(self, pairs: Sequence[tuple[Path, Path]]) -> list[tuple[Path, Path]]:
        """Those of (picture, clip) that are still to be made."""
        return [(picture, target) for picture, target in pairs if not self.holds(picture, target)]

    def holds(self, picture: Path, target: Path) -> bool:
        """Whether the clip was made of this very picture, and is there as it was written."""
        line = self.done.get(self._named(target))
        if line is None or line.get("image") != self._named(picture):
            return False
        try:
            return _marks(picture, target) == {k: line.get(k) for k in ("bytes", "image_bytes", "image_time")}
        except OSError:
            return False

    def add(self, report: dict[str, Any]) -> None:
        """Append a clip's report, or its error; SfvError if it cannot be written."""
        line: dict[str, Any] = {"image": self._named(Path(report["image"])), "digest": self.digest}
        if "error" in report:
            line["error"] = report["error"]
        else:
            spent = sum(v for k, v in report["seconds"].items() if k != "load")
            line |= {"out": self._named(Path(report["out"])), "seconds": round(spent, 4)}
            line |= _marks(Path(report["image"]), Path(report["out"]))
            self.done[line["out"]] = line
        self._append(json.dumps(line))

    def _named(self, path: Path) -> str:
        return os.path.relpath(path.absolute(), self.folder)

    def _append(self, text: str) -> None:
        """One write, on a line of its own even after one that was cut short."""
        try:
            with self.path.open("ab+") as file:
                end = file.seek(0, 2)
                file.seek(max(0, end - 1))
                whole = end == 0 or file.read(1) == b"\n"
                file.write(f"{'' if whole else chr(10)}{text}\n".encode())
        except OSError as error:
            raise SfvError(f"{self.path} cannot be written ({error.strerror}); the clips so far are whole") from error


def was_cut_short(clip: Path) -> bool:
    """Whether a manifest beside or above a clip lists it with more bytes than it has."""
    for folder in clip.absolute().parents:
        path = folder / NAME
        try:
            lines = path.read_text().splitlines() if path.is_file() else []
        except (OSError, UnicodeDecodeError):
            continue
        name = os.path.relpath(clip.absolute(), folder)
        listed = [d["bytes"] for line in lines if isinstance(d := _parsed(line), dict) and d.get("out") == name]
        if listed:
            return clip.stat().st_size < max(listed)
    return False


def _parsed(line: str) -> Any:
    try:
        return json.loads(line)
    except ValueError:
        return None


def _marks(picture: Path, target: Path) -> dict[str, int]:
    """What changes when a clip is cut short or its picture is another one."""
    source = picture.stat()
    return {"bytes": target.stat().st_size, "image_bytes": source.st_size, "image_time": source.st_mtime_ns}
