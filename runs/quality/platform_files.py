"""Every platform's file of many pictures: does it pass its rules, and do other programs' decoders open it to its end?

    python runs/quality/platform_files.py STILLS OUT.json [--model MODEL] [--count 20] [--seed 0]

STILLS as in runs/quality/stills_sheet.py. WebM and WebP are opened again by OpenCV, the rest by FFmpeg.
"""

import json
import tempfile
from pathlib import Path

import av
import cv2
from stills_sheet import arguments, drawn, pictures
from tqdm import tqdm

import sfv
from sfv.media import write_picture
from sfv.platforms.table import KB, PLATFORMS


def opens_elsewhere(path: Path) -> int:
    """Frames that another decoder gives."""
    if path.suffix == ".webm":
        video, count = cv2.VideoCapture(str(path)), 0
        while video.read()[0]:
            count += 1
        return count
    if path.suffix == ".webp":  # FFmpeg reads no animated one
        opened, animation = cv2.imreadanimation(str(path))
        return len(animation.frames) if opened else 0
    with av.open(str(path)) as container:
        return sum(1 for _ in container.decode(video=0))


def main() -> None:
    parser = arguments(__doc__, 20)
    asked = parser.parse_args()
    found, model = pictures(asked.stills), sfv.optimize(sfv.load(asked.model), "fast", "eager")
    rows: dict[str, list[dict[str, object]]] = {name: [] for name in PLATFORMS}
    with tempfile.TemporaryDirectory() as folder:
        for n in tqdm(drawn(found, asked.count, asked.seed)):
            write_picture(found[n](), Path(folder) / "picture.png")
            for name, platform in PLATFORMS.items():
                want = sfv.settings_for(sfv.Settings(), name)
                read = sfv.read_sticker(Path(folder) / "picture.png", opaque=True) if want.transparent else found[n]()
                path = Path(folder) / f"clip.{platform.format}"
                written = sfv.write_for(sfv.generate(model, read, want), name, path)
                rules = sfv.check_sticker(path, name)
                wrong = [f"{r.rule}: {r.found}" for r in rules if not r.ok]
                row = {"picture": n, "kb": round(written.bytes / KB, 1), "fps": round(written.fps, 2)}
                rows[name].append(row | {"wrong": wrong, "frames": written.frames, "elsewhere": opens_elsewhere(path)})
    command = f"python runs/quality/platform_files.py STILLS {asked.out} --count {asked.count} --seed {asked.seed}"
    passed = sum(not r["wrong"] and bool(r["elsewhere"]) for some in rows.values() for r in some)
    report = {"command": command, "model": model.hash, "files": asked.count * len(rows), "passed": passed, "rows": rows}
    asked.out.write_text(json.dumps(report, indent=1) + "\n")
    print(f"{passed} of {report['files']} files pass and open elsewhere")


if __name__ == "__main__":
    main()
