"""`sfv serve` begins: its address is said once it is answered, and what stops it is one sentence without an address."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from serving import free_port, open_quick

from sfv.cli.main import main
from sfv.errors import UNGUARDED
from sfv.serve.routes import create_app
from sfv.serve.settings import ServeSettings
from sfv.web.ports import take

TESTS = Path(__file__).parent.parent
ENV = os.environ | {"PYTHONPATH": f"{TESTS}{os.pathsep}{TESTS.parent / 'src'}"}


def test_any_free_port_is_said_by_its_real_number(tmp_path: Path) -> None:
    asked = ServeSettings(data=tmp_path / "data").model_dump_json()
    command = [sys.executable, "-c", f"import serving; serving.main({asked!r}, 0, False)"]
    with subprocess.Popen(command, env=ENV, stderr=subprocess.PIPE, text=True) as server:
        assert server.stderr is not None
        try:
            said = next(line for line in server.stderr if "http" in line)
            found = re.match(r"sfv: (http://127\.0\.0\.1:[1-9]\d+) \(description at /docs\)", said)
            assert found is not None and httpx.get(f"{found[1]}/healthz", timeout=60).status_code == 200
        finally:
            server.send_signal(signal.SIGTERM)
            server.stderr.read()


def test_a_model_that_cannot_be_opened_is_one_sentence_and_no_address(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "sfv", "serve", "--model", "nowhere", "--data", "data", "--port", str(free_port())]
    done = subprocess.run(command, cwd=tmp_path, env=ENV, capture_output=True, text=True, timeout=300)
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.count("\n") == 1 and done.stderr.startswith("sfv: ") and "nowhere" in done.stderr


@pytest.mark.parametrize("reported", [False, True])
def test_why_no_worker_can_start_is_logged_where_nobody_else_says_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, reported: bool
) -> None:
    service = create_app(ServeSettings(data=tmp_path / "data"), open_quick).service
    service.reported = reported
    service._on_worker_message("broken", "no such model")
    service._on_worker_message("trouble", "no room")
    service.stop()
    assert [r.message for r in caplog.records] == (["no room"] if reported else ["no such model", "no room"])


def test_a_port_that_is_taken_is_one_sentence_and_no_address(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    monkeypatch.setattr("sfv.serve.run.allow_open_files", lambda: asked.append("for files"))
    with take("127.0.0.1", 0) as first:
        port = first.getsockname()[1]
        assert main(["serve", "--port", str(port), "--data", str(tmp_path / "data")]) == 1
    said = capsys.readouterr()
    assert re.fullmatch(
        rf"sfv: 127\.0\.0\.1:{port} cannot be listened on \(.+\); name another --port or --host\n", said.err
    )
    assert said.out == "" and not (tmp_path / "data").exists() and asked == ["for files"]


@pytest.mark.parametrize("host", ["192.0.2.1", "no such host", "2001:db8::1"])
def test_a_host_that_is_not_this_machine_is_one_sentence_and_no_address(
    tmp_path: Path, host: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["serve", "--host", host, "--data", str(tmp_path / "data")]) == 1
    said = capsys.readouterr()
    assert re.fullmatch(rf"sfv: {host}:8000 cannot be listened on \(.+\); name another --port or --host\n", said.err)
    assert said.out == "" and not (tmp_path / "data").exists()


def test_a_port_that_is_taken_is_said_before_ray_is_started(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("ray")
    monkeypatch.setattr("sfv.ray.serving.cluster", lambda spread: pytest.fail("Ray was started"))
    with take("127.0.0.1", 0) as first:
        port = first.getsockname()[1]
        assert main(["serve", "--ray", "--port", str(port), "--data", str(tmp_path / "data")]) == 1
    said = capsys.readouterr()
    assert said.err.startswith(f"sfv: 127.0.0.1:{port} cannot be listened on (") and said.err.count("\n") == 1
    assert "http" not in said.out + said.err


CARELESS = """
from pathlib import Path
from serving import open_quick
from sfv.serve import ServeSettings, serve

def main():
    serve(ServeSettings(data=Path({data})), "127.0.0.1", 0, open_quick)

main()
"""


@pytest.mark.parametrize("data", ["'data'", "__import__('tempfile').mkdtemp()"], ids=["one folder", "a folder each"])
def test_a_service_begun_by_a_script_without_its_guard_ends_with_one_sentence(tmp_path: Path, data: str) -> None:
    """Its workers would run the script again for ever."""
    (tmp_path / "script.py").write_text(CARELESS.format(data=data))
    ends_unguarded([sys.executable, "script.py"], tmp_path, "")


def test_a_service_begun_by_a_script_that_is_no_file_ends_with_one_sentence(tmp_path: Path) -> None:
    ends_unguarded([sys.executable, "-"], tmp_path, CARELESS.format(data="'data'"))


def ends_unguarded(command: list[str], folder: Path, text: str) -> None:
    env = ENV | {"TMPDIR": str(folder)}
    done = subprocess.run(command, cwd=folder, env=env, input=text, capture_output=True, text=True, timeout=300)
    assert done.returncode == 1
    assert done.stderr.strip().splitlines()[-1] == f"sfv.errors.SfvError: {UNGUARDED}"
