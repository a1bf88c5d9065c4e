"""What `sfv optimize` measured on this machine, and what follows from it."""

import hashlib
import json
import platform
from pathlib import Path
from typing import Any

import torch

from sfv.families.base import VideoModel
from sfv.media import cache_folder, replacing
from sfv.system.files import make_folder

MANY = 1000
"""Clips for which a backend is chosen when nothing is said."""
Record = dict[str, dict[str, Any]]
"""Stage -> backend -> {"start": seconds before its first answer in a new process, "call": seconds of one}."""


def record_path(model: VideoModel, profile: str) -> Path:
    """Of a model's weights and size, a profile, and this machine as torch sees it."""
    defaults = model.defaults
    said = (
        model.hash,
        profile,
        defaults.frames,
        defaults.height,
        defaults.width,
        str(model.device),
        torch.get_num_threads(),
    )
    here = (torch.__version__, platform.machine(), torch.backends.cpu.get_cpu_capability())
    return cache_folder() / "speed" / f"{hashlib.sha256(repr((said, here)).encode()).hexdigest()[:24]}.json"


def keep_record(model: VideoModel, profile: str, record: Record) -> Path:
    """Write what was measured."""
    path = record_path(model, profile)
    make_folder(path.parent)
    with replacing(path) as beside:
        beside.write_text(json.dumps(record, indent=1) + "\n")
    return path


def read_record(model: VideoModel, profile: str) -> Record | None:
    """What was measured; None if nothing was, or it cannot be read (it is only a cache)."""
    try:
        found = json.loads(record_path(model, profile).read_text())
        return {s: {b: t for b, t in by.items() if {"start", "call"} <= t.keys()} for s, by in found.items()}
    except (OSError, ValueError, AttributeError):
        return None


def choose(model: VideoModel, profile: str, clips: int | None = None) -> tuple[dict[str, str], str]:
    """Stage -> the backend that has a number of clips done first, and why."""
    record = read_record(model, profile)
    if not record:
        return {}, f"eager: nothing was measured here; `sfv optimize {model.name}` finds the quickest"
    n = MANY if clips is None else clips
    chosen = {stage: min(by, key=lambda b: by[b]["start"] + n * by[b]["call"]) for stage, by in record.items() if by}
    quickest = ", ".join(f"{s} {b} ({1e3 * record[s][b]['call']:.0f} ms)" for s, b in chosen.items())
    return chosen, f"quickest measured here for {n} clip{'s' * (n != 1)}: {quickest}"
