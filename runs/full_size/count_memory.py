"""Memory and arithmetic of the full-size presets by counting on the meta device: no weights, no GPU.

python runs/full_size/count_memory.py OUT.json [PRESET ...]

With presets named, the others in OUT.json stay as they are.
"""

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from sfv.costs.account import RANKS, counted_stages
from sfv.costs.training import GB, accounts
from sfv.families.svd.sizes import Shapes

NAMES = "svd-24gb", "svd-24gb-warm", "svd-48gb", "svd-80gb", "svd-8x24gb", "svd-paper"


def main(out: Path, names: Sequence[str]) -> None:
    """14 frames of 448x768, one step of one rank; of a preset with several stages the hungriest, and every peak."""
    result = json.loads(out.read_text()) if names else {}
    for name in names or NAMES:
        counted = accounts(Shapes(), counted_stages(name), RANKS.get(name, 1))
        worst = max(counted, key=lambda one: one.peak)
        sizes = {"checkpoint_gb": max(c.state for c in counted), "host_gb": max(c.host for c in counted)}
        result[name] = asdict(worst) | {k: round(v / GB, 2) for k, v in ({"peak_gb": worst.peak} | sizes).items()}
        result[name] |= {"stages_gb": [round(c.peak / GB, 2) for c in counted], "cards": RANKS.get(name, 1)}
        print(f"{name}\n{worst}\n", flush=True)
        out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
