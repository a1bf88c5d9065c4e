"""What a GPU machine needs to train a model of whole loops, as small as it can be: training clips, stills, LPIPS.

    python runs/recipes/sticker_gpu_pack.py DATA WEIGHTS OUT [--per-family 6] [--crf 23]

DATA holds clips.zip, index.json and stills.zip; WEIGHTS holds lpips_alexnet.safetensors. Training families
are taken and, to see whether a network has memorised them, one clip of each selection family (docs/measure.md); of the
stills every other one, as `sfv pack` does. Clips are encoded again, since a rented machine may take
tens of megabytes only; a clip that is there already is kept, so the command resumes. runs/recipes/sticker_gpu.py reads
the folder.
"""

import argparse
import io
import json
import zipfile
from pathlib import Path
from typing import Any

import av
import torch
from safetensors.torch import load_file, save_file
from tqdm import tqdm

from sfv.data.stickers import chosen
from sfv.evaluation.real_clips import of_part
from sfv.training.objectives.perceptual import FILE


def smaller(video: bytes, crf: int) -> bytes:
    """The same frames by a slower encoder."""
    out = io.BytesIO()
    with av.open(io.BytesIO(video)) as source, av.open(out, "w", format="mp4") as sink:
        read = source.streams.video[0]
        made = sink.add_stream("libx264", rate=24, options={"crf": str(crf), "preset": "veryslow"})
        made.width, made.height, made.pix_fmt = read.width, read.height, "yuv444p"
        for frame in source.decode(read):  # type: ignore[union-attr]
            frame.pts = None
            sink.mux(made.encode(frame))
        sink.mux(made.encode())
    return out.getvalue()


def brief(row: dict[str, Any]) -> dict[str, Any]:
    """What training needs to know of a clip."""
    return {k: row[k] for k in ("id", "family", "frames")}


def main() -> None:
    """Write the folder and say how large it is."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("data", "weights", "out"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--per-family", type=int, default=6)
    parser.add_argument("--crf", type=int, default=23)
    args = parser.parse_args()
    clips = args.out / "clips"
    clips.mkdir(parents=True, exist_ok=True)
    index = chosen(json.loads((args.data / "index.json").read_text()), args.per_family)
    families = {r["family"]: r for r in reversed(index) if r["split"] == "val"}
    half = of_part(list(families.values()), lambda r: str(r["family"]), "selection")
    training = [brief(r) for r in index if r["split"] == "train"]
    held = [brief(r) for r in half]
    rows = [*training, *held]
    with zipfile.ZipFile(args.data / "clips.zip") as archive:
        for row in tqdm(rows, desc="clips", unit="clip"):
            path = clips / f"{row['id']}.mp4"
            if not path.exists():
                path.write_bytes(smaller(archive.read(path.name), args.crf))
    (args.out / "clips.json").write_text(json.dumps(training))
    (args.out / "held.json").write_text(json.dumps(held))
    with zipfile.ZipFile(args.data / "stills.zip") as archive, zipfile.ZipFile(args.out / "stills.zip", "w") as sink:
        for name in sorted(n for n in archive.namelist() if not n.endswith("/"))[::2]:
            sink.writestr(name, archive.read(name))
    weights = load_file(args.weights / FILE)
    save_file({k: v.to(torch.float16) for k, v in weights.items()}, args.out / FILE)
    size = sum(p.stat().st_size for p in args.out.rglob("*") if p.is_file())
    print(f"{args.out}: {len(rows)} clips, {size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
