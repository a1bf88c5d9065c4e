"""Memory and arithmetic of the full-size presets by counting on the meta device: no weights, no GPU.

python runs/full_size/count_memory.py OUT.json
"""

import json
import sys
from dataclasses import asdict
from pathlib import Path

from sfv.costs.account import RANKS
from sfv.costs.training import account
from sfv.families.svd.sizes import Shapes
from sfv.training.config import StudentTraining
from sfv.training.presets import PRESETS


def main(out: Path) -> None:
    """14 frames of 448x768, one step of one rank."""
    result = {}
    for name in ("svd-24gb", "svd-48gb", "svd-80gb", "svd-8x24gb", "svd-paper"):
        how = PRESETS[name]["student"][-1]
        assert isinstance(how, StudentTraining)
        counted = account(Shapes(), how, RANKS.get(name, 1))
        result[name] = asdict(counted) | {"peak_gb": round(counted.peak / 1e9, 2)}
        result[name] |= {"checkpoint_gb": round(counted.state / 1e9, 2), "cards": RANKS.get(name, 1)}
        print(f"{name}\n{counted}\n")
    out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
