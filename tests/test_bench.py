"""Seconds as ratios of the same round."""

import json
from pathlib import Path

from PIL import Image

from sfv.bench import STAGES, bench, summaries
from sfv.settings import Settings


def test_bench_measures_ratios_in_the_same_round(tiny_folder: Path, tmp_path: Path) -> None:
    Image.new("RGB", (32, 32), "red").save(tmp_path / "red.png")
    names, file = (str(tiny_folder), str(tiny_folder)), tmp_path / "bench.json"
    text = bench(tmp_path / "red.png", names, Settings(steps=2), 3, file)
    result = json.loads(file.read_text())
    first, second = result["models"]
    assert first["calls"] == second["calls"] >= 2
    assert first["times"] == {"unet": 1.0, "total": 1.0}
    for m in (first, second):
        parts = sum(m["median"][k] for k in ("read", "encode", "unet", "decode", "write"))
        assert 0.5 * m["median"]["total"] < parts < 1.5 * m["median"]["total"]
        assert m["p95"]["total"] >= m["median"]["total"]
    assert len(text.splitlines()) == 4 and result["machine"]["threads"] >= 1


def test_bench_summaries_by_hand() -> None:
    taken = [{k: v for k in STAGES} | {"calls": 1} for v in (1.0, 10.0, 2.0, 30.0, 4.0, 16.0)]
    a, b = summaries([("a", ""), ("b", "")], taken)
    assert a["median"]["total"] == 2 and b["median"]["total"] == 16
    assert b["times"]["total"] == 10 and b["p95"]["unet"] == 30
