"""Seconds and memory of `sfv evaluate`'s features and distances over many clips, without making clips.

    python runs/bench_features.py STORE WEIGHTS OUT.json [CLIPS] [WORKERS]

Real clips of a store (train and validation) stand for the made ones; every row is extracted anew, by the networks of
the protocol "sticker", with motion and consistency, then the distances with their intervals.
"""

import json
import sys
import time
from pathlib import Path

import torch

from sfv.data.stickers import ClipStore
from sfv.evaluation.clipsets import sticker_frames
from sfv.evaluation.extract import basis_of, each, one_thread
from sfv.evaluation.facts import facts
from sfv.evaluation.features import LPIPS, extractors
from sfv.evaluation.features.weights import read_weights
from sfv.evaluation.protocol import read_protocol
from sfv.memory import keep_memory, peak_resident, reset_peak
from sfv.metrics import bootstrap, frechet_distance, kernel_distance


def main(data: Path, weights: Path, out: Path, count: int, workers: int) -> None:
    keep_memory()
    protocol, store = read_protocol("sticker"), ClipStore(data)
    nets, lpips = extractors(protocol, weights), read_weights(weights / LPIPS)
    clips = store.clips[:count]
    read = [lambda c=c: sticker_frames(store, c, protocol) for c in clips]
    peaks = {}

    def work(i: int) -> dict[str, torch.Tensor]:
        frames = read[i]()
        facts(frames, frames, protocol.fps, lpips)
        if i in (len(clips) // 10, len(clips) - 1):
            peaks[i] = round(peak_resident() / 1e6)
        return {k: net.row(frames) for k, net in nets.items()}

    reset_peak()
    start = time.perf_counter()
    rows = each(work, range(len(clips)), workers, "features")
    middle = time.perf_counter()
    with one_thread():
        for k, net in nets.items():
            mine = torch.stack([r[k] for r in rows])
            seen = basis_of(net, mine)(mine)
            bootstrap(frechet_distance, seen, seen.flip(0), protocol.bootstrap)
            kernel_distance(seen, seen.flip(0))
    result = {
        "clips": len(clips),
        "workers": workers,
        "seconds": {"features": middle - start, "distances": time.perf_counter() - middle},
        "peak_mb_after_clips": {str(k + 1): v for k, v in sorted(peaks.items())},
    }
    out.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    numbers = [int(v) for v in sys.argv[4:]]
    main(*(Path(v) for v in sys.argv[1:4]), *(numbers + [1000, 2][len(numbers) :]))
