"""How far our latents of a tiny random Wan2.2 TI2V are from those of diffusers' pipeline, same noise, in float32.

    python runs/quality/wan_keystone.py OUT.json

The model and the comparison are those of tests/families/wan/test_networks.py. For 1, 5 and 25 steps the largest
relative error of guided and not, two sizes, 5 and 9 frames. Half a minute.
"""

import json
import os
import sys
import tempfile
from itertools import product
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))

import tiny_wan

from sfv.families.load import load
from sfv.media import replacing


def main() -> None:
    out = Path(sys.argv[1])
    with tempfile.TemporaryDirectory() as place:
        os.environ["SFV_CACHE"] = f"{place}/cache"
        folder = tiny_wan.written(Path(place) / "wan")
        model, pipe = load(folder), tiny_wan.stock(folder)
        asked = list(product(tiny_wan.SIZES, (1.0, 4.0)))
        worst = {
            steps: max(tiny_wan.apart(model, pipe, size, frames, steps, scale) for (size, frames), scale in asked)
            for steps in (1, 5, 25)
        }
    result = {"command": f"python runs/quality/wan_keystone.py {out}", "largest_relative_error": worst}
    with replacing(out) as beside:
        beside.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(worst))


if __name__ == "__main__":
    main()
