"""How strongly and how quickly the baselines "sway" and "squash" should move, chosen on the selection clips.

    python runs/quality/choose_baselines.py STORE WEIGHTS OUT.json

Every strength of the grid at every pace is measured by the protocols "sticker-selection" and "loops-selection", and the
still picture beside them; OUT holds all distances and the best of each, which stand in the protocols' `baselines`. In
protocols of whole rounds, paces that come to the same number of periods are measured once. Interrupt and repeat at
will: what OUT holds is not measured again.
"""

import json
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from sfv.evaluation.baselines import MOVED, rounds
from sfv.evaluation.candidates import STILL, moved, still
from sfv.evaluation.extract import rows_of
from sfv.evaluation.protocol import Baselines, Protocol
from sfv.evaluation.reference import Reference, open_reference
from sfv.evaluation.settings import EvaluateSettings
from sfv.media import replacing
from sfv.system.memory import keep_memory
from sfv.types import Frames

PROTOCOLS = ("sticker-selection", "loops-selection")
STRENGTHS = {"sway": ("degrees", (1, 2, 3, 4, 6, 8)), "squash": ("share", (0.02, 0.04, 0.06, 0.08, 0.12))}
SECONDS = (1, 1.5, 2, 3)
Rows = list[dict[str, Any]]


def settings(row: str, protocol: Protocol) -> Iterator[dict[str, float]]:
    """Every strength at every pace that differs from the ones before it."""
    unit, strengths = STRENGTHS[row]
    paces = {rounds(protocol, s) if protocol.whole else s: s for s in reversed(SECONDS)}
    for strength in strengths:
        for seconds in sorted(paces.values()):
            yield {f"{row}_{unit}": strength, f"{row}_seconds": seconds}


def measured(reference: Reference, read: Callable[[int], Frames], what: str) -> dict[str, float]:
    """Distances of one row: the mean of the networks, and each."""
    rows, _ = rows_of(reference.nets, read, len(reference.real.clips), reference.workers, what)
    return reference.distances(rows)


def under(reference: Reference, row: str, strength: dict[str, float]) -> Callable[[int], Frames]:
    """Clips of a baseline under other settings."""
    protocol = reference.protocol.model_copy(update={"baselines": Baselines.model_validate(strength)})
    return partial(moved, row, reference.real, protocol)


def grid(reference: Reference, known: dict[str, Any], keep: Callable[[dict[str, Any]], None]) -> None:
    """Measure what is not known yet; `keep` is called after every row."""
    if STILL not in known:
        known[STILL] = measured(reference, lambda i: still(reference.real.clips[i].read()), STILL)
        keep(known)
    for row in MOVED:
        rows: Rows = known.setdefault(row, [])
        seen = [r["settings"] for r in rows]
        for strength in [s for s in settings(row, reference.protocol) if s not in seen]:
            what = ", ".join(f"{k} {v:g}" for k, v in strength.items())
            rows.append({"settings": strength, "distance": measured(reference, under(reference, row, strength), what)})
            keep(known)
    known["best"] = {k: v for row in MOVED for k, v in best(known[row])["settings"].items()}
    keep(known)


def best(rows: Rows) -> dict[str, Any]:
    """The row that is nearest to the real clips in the mean of the networks."""
    return min(rows, key=lambda r: float(r["distance"]["mean"]))


def main(store: Path, weights: Path, out: Path) -> None:
    keep_memory()
    found: dict[str, Any] = json.loads(out.read_text()) if out.exists() else {}

    def keep(name: str, known: dict[str, Any]) -> None:
        found[name] = known
        with replacing(out) as beside:
            beside.write_text(json.dumps(found, indent=1) + "\n")

    for name in PROTOCOLS:
        reference = open_reference(store, EvaluateSettings(protocol=name, weights=weights, workers=1))
        identity = {k: v for k, v in reference.identity().items() if k not in ("hash", "baselines")}
        known = found.get(name, {"protocol": identity})
        if known["protocol"] != identity:
            raise SystemExit(f"{out} was measured with other clips or networks for {name}; move it away")
        grid(reference, known, partial(keep, name))
        for row in MOVED:
            top = best(known[row])
            print(f"{name}: {row} {top['settings']} {top['distance']['mean']:.1f}, still {known[STILL]['mean']:.1f}")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:4]))
