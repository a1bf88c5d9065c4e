"""A short run of the fuzz script: no reader of files answers with a traceback."""

import json
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "runs" / "robustness" / "fuzz.py"
KINDS = ["png", "gif", "webp", "mkv", "clip.mp4", "manifest.jsonl", "list.csv", "shards", "model", "body"]


def test_mutations_get_an_answer_or_a_sentence(tmp_path: Path) -> None:
    """The first thirty mutations of each kind; the script's own run has a thousand."""
    out = tmp_path / "fuzz.json"
    command = [sys.executable, SCRIPT, "--mutations", str(30 * len(KINDS)), "--only", *KINDS]
    command += ["--seconds", "120", "--out", out]
    done = subprocess.run(command, capture_output=True, text=True)
    assert out.exists(), done.stderr[-2000:]
    table = json.loads(out.read_text())
    assert {k: t["failed"] for k, t in table["kinds"].items() if t["failed"]} == {}
    assert table["total"]["tried"] == 30 * len(KINDS) and table["total"]["refused"] > 50 < table["total"]["taken"]
    assert done.returncode == 0
