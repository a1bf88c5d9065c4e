"""What is lost and what is gained when a model of whole loops draws nothing beside the picture that it moves.

    python runs/quality/undrawn.py OUT.json [--trust 7]

The embedded model's weights, decoded with what the mask leaves of the drawn part (--trust is added to its logit) and
without, from the same latents of one call: decibels between both clips over white, for every bundled picture, and
milliseconds of decoding in turn, medians of nine. Things are not moved as one body, where nothing is drawn anyway.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path

import torch

import sfv
from sfv.families.motion.networks import MotionCodec
from sfv.generation.fitting import first_pixels
from sfv.generation.generate import begin
from sfv.media.pixels import laid_over

ROUNDS = 9


def milliseconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return 1000 * (time.perf_counter() - start)


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--trust", type=float, default=7.0)
    given = parser.parse_args()
    model = sfv.load()
    assert isinstance(model.codec, MotionCodec)
    networks, config = model.codec.networks, model.codec.networks.config
    ways = {
        k: networks.for_generation(config.window, config.bends, given.trust, k == "drawn") for k in ("drawn", "not")
    }
    decibels: dict[str, float] = {}
    for path in sorted(Path(str(files("sfv") / "examples")).glob("*.png")):
        sticker = sfv.read_sticker(path)
        made = sfv.generate(model, sticker, transparent=True, stiff="off", fit="pad", size="128")
        first = first_pixels(model, begin(model, sticker, {"transparent": True, "fit": "pad", "size": "128"}).still)
        clips = [laid_over(way.draw(made.latents, first).frames).double() for way in ways.values()]
        error = float((clips[0] - clips[1]).square().mean())
        decibels[path.name] = round(10 * torch.tensor(255**2 / max(error, 1e-9)).log10().item(), 1)
    taken: dict[str, list[float]] = {k: [] for k in ways}
    for _ in range(ROUNDS):
        for name, way in ways.items():
            taken[name].append(milliseconds(lambda way=way: way.draw(made.latents, first)))  # type: ignore[misc]
    result = {
        "command": f"python runs/quality/undrawn.py {given.out}",
        "trust": given.trust,
        "threads": torch.get_num_threads(),
        "decibels": decibels,
        "decode_ms": {k: round(statistics.median(v), 1) for k, v in taken.items()},
        "not/drawn": round(statistics.median(b / a for a, b in zip(taken["drawn"], taken["not"], strict=True)), 3),
    }
    given.out.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
