"""A blind sheet: two models' clips of the same pictures side by side in shuffled order, and the key in another file."""

import base64
import html
import json
from pathlib import Path

import torch

from sfv.evaluation.candidates import Subject
from sfv.evaluation.reference import Reference
from sfv.media import replacing, webp_bytes

PAIRS = 16
STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2em auto; max-width: 760px; padding: 0 1em; }
.pair { display: flex; gap: 16px; margin: 1em 0; align-items: center; } img { border: 1px solid #ddd; width: 192px; }
"""


def write_blind(first: Subject, second: Subject, reference: Reference, out: Path, seed: int = 0) -> None:
    """blind.html shows pairs A and B, blind-key.json tells which is which; the same seed, the same order."""
    rng = torch.Generator().manual_seed(seed)
    count = len(reference.real.clips)
    places = torch.randperm(count, generator=rng)[:PAIRS].tolist()
    body, key = [], []
    for number, i in enumerate(places, 1):
        pair = [first, second] if float(torch.rand((), generator=rng)) < 0.5 else [second, first]
        shown = "".join(_figure(letter, s, i, reference) for letter, s in zip("AB", pair, strict=True))
        name = reference.real.clips[i].name or reference.real.clips[i].id
        body.append(f"<div class=pair><b>{number}</b>{shown}<span>{html.escape(name)}</span></div>")
        key.append({"pair": number, "clip": reference.real.clips[i].id, "A": pair[0].name, "B": pair[1].name})
    title = "<h1>Which of the two?</h1><p>Two models, the same pictures, in shuffled order. Note for every pair which "
    title += "clip looks better and which model you take it for; then open blind-key.json.</p>"
    page = f"<!doctype html><meta charset=utf-8><title>sfv blind</title><style>{STYLE}</style>{title}{''.join(body)}\n"
    for path, text in ((out / "blind.html", page), (out / "blind-key.json", json.dumps(key, indent=1) + "\n")):
        with replacing(path) as beside:
            beside.write_text(text)


def _figure(letter: str, subject: Subject, i: int, reference: Reference) -> str:
    data = base64.b64encode(webp_bytes(subject.read(i), reference.protocol.fps)).decode()
    return f'<span>{letter}<br><img src="data:image/webp;base64,{data}" alt="{letter}"></span>'
