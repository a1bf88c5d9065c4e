"""What the README tells people to type runs as it stands."""

import re
import shutil
from pathlib import Path

import pytest

from sfv.batch.compare import example
from sfv.media import read_clip
from sfv.training.config import StudentTraining

README = Path(__file__).parent.parent.parent / "README.md"


def test_its_python_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(), flags=re.S)
    shutil.copy(example().parent / "cat.png", tmp_path)
    monkeypatch.chdir(tmp_path)
    for block in blocks:
        exec(compile(block, str(README), "exec"), {})
    lengths = [len(read_clip(tmp_path / name)) for name in ("cat.webp", "cat-clear.webp")]
    assert len(blocks) == 1 and lengths[0] == lengths[1] > 1


def test_every_option_of_the_student_is_documented() -> None:
    named = " ".join(re.findall(r"`([^`]+)`", (README.parent / "docs" / "student.md").read_text()))
    missing = [field for field in StudentTraining.model_fields if not re.search(rf"\b{field}\b", named)]
    assert not missing
