"""Seconds and memory of `sfv evaluate`'s features and distances over many clips, without making clips.

    python runs/benches/bench_features.py STORE WEIGHTS OUT.json [CLIPS] [WORKERS]

Real clips of a store (train and validation) stand for the made ones; every row is extracted anew, by the networks of
the protocol "sticker", with motion and consistency, then the distances with their intervals.
"""

import json
import sys
import time
from pathlib import Path

from sfv.data.stickers import ClipStore
from sfv.evaluation.clip_metrics import facts
from sfv.evaluation.extract import basis_of, one_thread, rows_of
from sfv.evaluation.features import LPIPS, extractors
from sfv.evaluation.features.weights import read_weights
from sfv.evaluation.protocol import read_protocol
from sfv.evaluation.real_clips import sticker_frames
from sfv.measures.distances import bootstrap, frechet_distance, kernel_distance
from sfv.system.memory import anonymous, keep_memory
from sfv.types import Frames


def tenths(held: dict[int, int]) -> list[list[int]]:
    """What was held while each tenth of the clips was measured."""
    values = [held[i] for i in sorted(held)]
    return [values[i * len(values) // 10 : (i + 1) * len(values) // 10] for i in range(10)]


def main(data: Path, weights: Path, out: Path, count: int, workers: int) -> None:
    keep_memory()
    protocol, store = read_protocol("sticker"), ClipStore(data)
    nets, lpips = extractors(protocol, weights), read_weights(weights / LPIPS)
    clips = store.clips[:count]
    held = {}

    def tell(i: int, frames: Frames) -> None:
        facts(frames, frames, protocol.fps, lpips)
        held[i] = anonymous()

    start = time.perf_counter()
    rows, _ = rows_of(nets, lambda i: sticker_frames(store, clips[i], protocol), len(clips), workers, "features", tell)
    middle = time.perf_counter()
    with one_thread():
        for k, net in nets.items():
            seen = basis_of(net, rows[k])(rows[k])
            bootstrap(frechet_distance, seen, seen.flip(0), protocol.bootstrap)
            kernel_distance(seen, seen.flip(0))
    result = {
        "clips": len(clips),
        "workers": workers,
        "seconds": {"features": middle - start, "distances": time.perf_counter() - middle},
        "anonymous_mb_by_tenths": [round(max(v) / 1e6) for v in tenths(held)],
    }
    out.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    numbers = [int(v) for v in sys.argv[4:]]
    main(*(Path(v) for v in sys.argv[1:4]), *(numbers + [1000, 2][len(numbers) :]))
