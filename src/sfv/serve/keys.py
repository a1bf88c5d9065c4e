"""API keys: random, shown once, kept as salted hashes in a JSON file.

A key has 256 random bits, so one round of SHA-256 over salt and key is enough; slow hashes are for passwords that
people choose, and would let a stranger burn the server's time with wrong ones.
"""

import hashlib
import hmac
import json
import logging
import secrets
import time
from pathlib import Path

from sfv.errors import SfvError
from sfv.media import replacing

log = logging.getLogger("sfv.serve")


class Keys:
    """The keys of one file; read again when the file changes, so that a key can be withdrawn while the server runs."""

    def __init__(self, path: Path) -> None:
        self.path, self.seen = path, 0.0
        self.entries: dict[str, dict[str, str]] = {}
        self._refresh()

    def owner(self, given: str) -> str | None:
        """The id of a valid key, else None; takes as long for an unknown key as for a wrong one."""
        try:
            self._refresh()
        except SfvError as error:  # a file that cannot be read lets nobody in
            log.warning("%s", error)
            self.entries = {}
        name = given.removeprefix("sfv_").partition("_")[0]
        entry = self.entries.get(name, {"salt": "", "hash": "0" * 64})
        right = hmac.compare_digest(_hash(entry["salt"], given), entry["hash"])
        return name if right and name in self.entries else None

    def _refresh(self) -> None:
        try:
            changed = self.path.stat().st_mtime
            if changed != self.seen:
                self.entries = {e["id"]: e for e in json.loads(self.path.read_text())["keys"]}
                self.seen = changed
        except FileNotFoundError as error:
            raise SfvError(
                f"{self.path} does not exist; make a key with: sfv serve --keys FILE --new-key NAME"
            ) from error
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise SfvError(f"{self.path} is no file of keys ({type(error).__name__}); make a new one") from error


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
        beside.write_text(json.dumps({"keys": entries}, indent=1))
    return key


def _hash(salt: str, key: str) -> str:
    return hashlib.sha256(f"{salt}:{key}".encode(errors="surrogatepass")).hexdigest()
