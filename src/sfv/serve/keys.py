"""API keys: random, shown once, kept as salted hashes in a file, one JSON object a line.

A key has 256 random bits, so one round of SHA-256 over salt and key is enough; slow hashes are for passwords that
people choose, and would let a stranger burn the server's time with wrong ones.
"""

import hashlib
import hmac
import json
import logging
import re
import secrets
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sfv.errors import SfvError, reason
from sfv.media import replacing

log = logging.getLogger("sfv.serve")
Entry = dict[str, Any]
UNKNOWN: Entry = {"salt": "", "hash": "0" * 64}


class Keys:
    """The keys of one file; read again when the file changes, so that a key can be withdrawn while the server runs."""

    def __init__(self, path: Path) -> None:
        self.path, self.said = path, ""
        self.seen: tuple[int, ...] = ()
        self.entries: dict[str, Entry] = {}
        self._refresh()

    def owner(self, given: str) -> str | None:
        """The id of a valid key, else None; takes as long for an unknown key as for a wrong one."""
        try:
            self._refresh()
        except SfvError as error:  # a file that cannot be read lets nobody in, and is logged once
            if self.said != str(error):
                self.said = str(error)
                log.warning("%s", error)
        name = given.removeprefix("sfv_").partition("_")[0]
        entry = self.entries.get(name, UNKNOWN)
        right = hmac.compare_digest(_hash(entry["salt"], given), entry["hash"])
        return name if right and name in self.entries else None

    def _refresh(self) -> None:
        try:
            now = self.path.stat()
            seen = (now.st_mtime_ns, now.st_ctime_ns, now.st_size, now.st_ino)
            if seen == self.seen:
                return
            text = self.path.read_text()
        except (OSError, UnicodeDecodeError) as error:
            self.entries, self.seen = {}, ()
            raise SfvError(_unread(self.path, error)) from error
        self.entries, self.seen, self.said = {}, seen, ""
        self.entries = {entry["id"]: entry for entry in _entries(self.path, text)}


def _unread(path: Path, error: OSError | UnicodeDecodeError) -> str:
    if isinstance(error, FileNotFoundError):
        return f"{path} does not exist; make a key with: sfv serve --keys FILE --new-key NAME"
    if isinstance(error, OSError):
        return f"{path} cannot be read ({reason(error)}); give this server leave to read it, or name another --keys"
    return f"{path} is no file of keys (it is no text); make a new one"


def _entries(path: Path, text: str) -> list[Entry]:
    """The entries that a file's text holds; what is none is said in the log. SfvError if it is no file of keys."""
    found, bad = list[Entry](), list[str]()
    for line, entry in _objects(text):
        whole = entry is not None and all(isinstance(entry.get(name), str) for name in ("id", "salt", "hash"))
        if entry is not None and whole and re.fullmatch("[0-9a-f]{64}", entry["hash"]):
            found.append(entry)
        else:
            bad.append(
                f"{path}, line {line}: this entry has not all of id, salt and hash and opens nothing; take it out"
            )
    if not found and (bad or (text.strip() and _json(text) != {"keys": []})):
        raise SfvError(f"{path} is no file of keys (no entry with id, salt and hash); make a new one")
    for sentence in bad:
        log.warning("%s", sentence)
    return found


def _json(text: str) -> Any:
    """What a text is as JSON; None where it is none."""
    try:
        return json.loads(text)
    except ValueError:
        return None


def _objects(text: str) -> Iterator[tuple[int, Entry | None]]:
    """The number of each entry's first line, and the entry; None for what cannot be read.

    A line is one entry. Files of earlier versions have a list of entries over many lines, from which a line may have
    been taken since: what is between whole entries that begin a line of their own is passed over, up to the list's end.
    """
    whole = _json(text)
    if isinstance(whole, dict) and isinstance(whole.get("keys"), list):
        yield from ((1, entry if isinstance(entry, dict) else None) for entry in whole["keys"])
    elif outer := re.match(r'\s*\{\s*"keys"\s*:\s*\[', text):
        yield from _mended(text, outer.end())
    else:
        for number, line in enumerate(text.splitlines(), 1):
            if line.strip():
                entry = _json(line)
                yield number, entry if isinstance(entry, dict) else None


def _mended(text: str, start: int) -> Iterator[tuple[int, Entry | None]]:
    """Of a list that a taken line has broken."""
    decoder, done = json.JSONDecoder(), start
    closed = re.compile(r"^\s*\]", re.MULTILINE).search(text, start)
    for begin in re.compile(r"^[\s,]*\{", re.MULTILINE).finditer(text, start, closed.start() if closed else len(text)):
        if begin.end() <= done:
            continue
        try:
            entry, done = decoder.raw_decode(text, begin.end() - 1)
        except ValueError:
            entry = None
        yield text.count("\n", 0, begin.end()) + 1, entry


def new_key(path: Path, name: str) -> str:
    """Add a key to the file (made if need be, readable by its owner alone) and return it; it is kept nowhere else."""
    entries = list(Keys(path).entries.values()) if path.exists() else []
    label, salt = secrets.token_hex(6), secrets.token_hex(16)
    key = f"sfv_{label}_{secrets.token_urlsafe(32)}"
    created = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    entries.append({"id": label, "name": name, "made": created, "salt": salt, "hash": _hash(salt, key)})
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as beside:
        beside.touch(mode=0o600)
        beside.write_text("".join(f"{json.dumps(entry)}\n" for entry in entries))
    return key


def _hash(salt: str, key: str) -> str:
    return hashlib.sha256(f"{salt}:{key}".encode(errors="surrogatepass")).hexdigest()
