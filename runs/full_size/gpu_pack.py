"""What a bare GPU machine without a network needs beside this repository, in one folder of a bounded size.

    python runs/full_size/gpu_pack.py OUT [--python 3.12] [--data DATA --weights WEIGHTS]

OUT/wheels: Python packages that such machines lack (torch, Triton, transformers, NumPy, Pillow and safetensors are
there), in this environment's versions. With DATA and WEIGHTS (runs/recipes/sticker_gpu_pack.py) OUT/sticker too, for
training the embedded model. Fails if all is larger than what can be carried. runs/full_size/gpu_visit.py reads it.
"""

import argparse
import subprocess
import sys
import zipfile
from importlib.metadata import version
from pathlib import Path

PACKAGES = (
    "diffusers",
    "importlib_metadata",
    "zipp",
    "pydantic",
    "pydantic_core",
    "annotated-types",
    "typing-inspection",
    "jaxtyping",
    "wadler-lindig",
)
MOST = 50 << 20
"""Bytes; the repository itself travels too."""
NO_VIDEOS = '''"""Stands in for PyAV, whose 40 MB stay behind: its parts can be named; no video is read or written."""


class Absent(type):
    """Anything of PyAV's, with all that is in it."""

    def __getattr__(cls, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return Absent(name, (Exception,), {})

    def __call__(cls, *given, **named):
        raise ImportError("PyAV is not on this machine: no video file is read or written")


def __getattr__(name):
    if name.startswith("__"):
        raise AttributeError(name)
    return Absent(name, (Exception,), {})
'''
PARTS = ("sidedata/sidedata", "video/reformatter")
"""Modules of PyAV's that are imported by name."""


def download(folder: Path, python: str) -> None:
    """Wheels for that Python on Linux."""
    wanted = [f"{name}=={version(name)}" for name in PACKAGES]
    platforms = [f"--platform={p}" for p in ("manylinux2014_x86_64", "manylinux_2_28_x86_64")]
    command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary=:all:", f"--dest={folder}"]
    if subprocess.run([*command, f"--python-version={python}", *platforms, *wanted], check=False).returncode:
        sys.exit("error: the packages above could not be downloaded; see pip's message")


def unpacked(wheels: Path, site: Path) -> Path:
    """The wheels' packages in `site`, and what stands in for PyAV."""
    for wheel in wheels.glob("*.whl"):
        zipfile.ZipFile(wheel).extractall(site)
    for part in ("", *PARTS):
        folder = site / "av" / part
        for above in (folder, *folder.parents[: len(Path(part).parts)]):
            above.mkdir(parents=True, exist_ok=True)
            (above / "__init__.py").write_text(NO_VIDEOS)
    return site


def size(folder: Path) -> int:
    """Bytes of all its files."""
    return sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())


def main(arguments: list[str]) -> None:
    """Make the folder and say what each part weighs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--python", default="3.12")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--weights", type=Path)
    options = parser.parse_args(arguments)
    folder = options.out / "wheels"
    folder.mkdir(parents=True, exist_ok=True)
    download(folder, options.python)
    if options.data and options.weights:
        script = Path(__file__).parent.parent / "recipes" / "sticker_gpu_pack.py"
        given = [str(options.data), str(options.weights), str(options.out / "sticker"), "--crf", "20"]
        subprocess.run([sys.executable, str(script), *given], check=True)
    check(options.out)


def check(out: Path, most: int = MOST) -> None:
    """Say what each folder weighs; ends with an error if together they are too much."""
    sizes = {p.name: size(p) for p in sorted(out.iterdir()) if p.is_dir()}
    for name, found in sizes.items():
        print(f"{name}: {found / 2**20:.1f} MiB")
    if sum(sizes.values()) > most:
        sys.exit(f"error: {out} holds {sum(sizes.values()) / 2**20:.1f} MiB, {most >> 20} can be carried; raise --crf")


if __name__ == "__main__":
    main(sys.argv[1:])
