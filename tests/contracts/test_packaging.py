"""Wheel and sdist: what is inside, and a clip made by the wheel in an empty environment."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

from sfv.media import read_clip

ROOT = Path(__file__).parent.parent.parent
LIMIT = 100e6
"""Bytes that PyPI takes of one file."""
pytestmark = pytest.mark.weights


def sources() -> set[str]:
    """Files of the repository, relative to it; what git ignores is left out."""
    said = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return {name for name in said.stdout.splitlines() if (ROOT / name).is_file()}


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """sdist and, built from it, the wheel: both from a copy, so that nothing is left in the repository."""
    tree = tmp_path_factory.mktemp("tree")
    for name in sources():
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tree / name)
    out = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(tree)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return out


@pytest.fixture(scope="module")
def wheel(dist: Path) -> Path:
    return next(dist.glob("*.whl"))


@pytest.fixture(scope="module")
def empty(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty environment with the wheel; its dependencies are those of this one, found after it."""
    place = tmp_path_factory.mktemp("venv")
    venv.create(place, with_pip=False)
    python = place / "bin" / "python"
    install = [sys.executable, "-m", "pip", "--python", str(python), "install", "--no-deps", "--no-index", "-q"]
    done = subprocess.run([*install, str(wheel)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (packages,) = place.glob("lib/python*/site-packages")
    (packages / "zz-dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    for name in ("diffusers", "transformers", "accelerate"):  # an extra: without it, too, a picture becomes a clip
        (packages / f"{name}.py").write_text("raise ImportError('left out', name=__name__)\n")
    return place


def run(place: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """A command inside the environment, in its own folder and without this repository on the path."""
    plain = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | {"OMP_NUM_THREADS": "1"}
    program = str(place / "bin" / command[0])
    return subprocess.run([program, *command[1:]], cwd=place, env=plain, capture_output=True, text=True, check=False)


def test_the_wheel_holds_the_package_and_nothing_else(wheel: Path) -> None:
    inside = {n for n in zipfile.ZipFile(wheel).namelist() if not n.endswith("/")}
    package = {n.removeprefix("src/") for n in sources() if n.startswith("src/sfv/")}
    about = {n for n in inside if n.startswith("sfv-") and ".dist-info/" in n}
    assert inside - about == package
    assert {n.split(".dist-info/")[1] for n in about} == {
        "METADATA",
        "RECORD",
        "WHEEL",
        "entry_points.txt",
        "top_level.txt",
        "licenses/LICENSE",
        "licenses/src/sfv/weights/NOTICE",
    }
    assert {"sfv/py.typed", "sfv/weights/NOTICE", "sfv/weights/SHA256SUMS", "sfv/protocols/sticker.json"} <= package


def test_the_sdist_holds_what_builds_it_and_nothing_else(dist: Path) -> None:
    with tarfile.open(next(dist.glob("*.tar.gz"))) as tar:
        inside = {m.name.split("/", 1)[1] for m in tar.getmembers() if m.isfile()}
    made = {n for n in inside if n.startswith("src/sfv.egg-info/")} | {"PKG-INFO", "setup.cfg"}
    package = {n for n in sources() if n.startswith("src/sfv/")}
    extra = {"pyproject.toml", "MANIFEST.in", "README.md", "LICENSE", "CHANGELOG.md", "constraints.txt"}
    assert inside - made == package | extra


def test_both_fit_on_pypi(dist: Path) -> None:
    sizes = {f.name: f.stat().st_size for f in dist.iterdir()}
    assert len(sizes) == 2 and all(20e6 < size < LIMIT for size in sizes.values()), sizes


def test_an_empty_environment_makes_a_clip(empty: Path) -> None:
    where = run(empty, "python", "-c", "import sfv; print(sfv.__file__)")
    assert Path(where.stdout.strip()).is_relative_to(empty), where.stderr
    done = run(empty, "sfv", "generate", str(ROOT / "src/sfv/examples/cat.png"), "-o", "cat.mp4", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["calls"] == 1
    frames = read_clip(empty / "cat.mp4")
    assert len(frames) > 1 and frames.shape[1:] == (128, 128, 3) and (frames[0] != frames[-1]).any()


def test_without_diffusers_its_pipeline_is_one_sentence(empty: Path) -> None:
    done = run(
        empty, "sfv", "bench", str(ROOT / "src/sfv/examples/cat.png"), "--models", "sticker", "diffusers=sticker:1"
    )
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert 'diffusers\' own pipeline needs diffusers: pip install "sfv[diffusers]"' in " ".join(done.stderr.split())


def test_an_empty_environment_is_well(empty: Path) -> None:
    done = run(empty, "sfv", "doctor", "--no-run", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads(done.stdout)
    assert told["works"] and Path(told["weights"]["folder"]).is_relative_to(empty)
    assert {"serve", "ray", "postgres", "s3", "openvino"} <= {e["name"] for e in told["extras"]}
