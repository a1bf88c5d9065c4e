"""Where figures come from."""

from pathlib import Path

from sfv.evaluation.origins import of_files, plain_command


def test_a_command_is_kept_without_places_of_the_machine() -> None:
    words = ["/usr/bin/sfv", "evaluate", "/data/me/store/", "--out=/tmp/x", "--models", "/m/mine@fast/eager:25", "a:1"]
    plain = plain_command([*words, "--limit", "4", r"C:\clips\theirs", "loops.json"])
    assert plain == "sfv evaluate store --out=x --models mine@fast/eager:25 a:1 --limit 4 theirs loops.json"
    assert plain_command(["/lib/sfv/__main__.py", "evaluate"]) == "sfv evaluate"
    assert plain_command(["-c", "a\nb"]) == "-c a\nb" and plain_command([]) == ""


def test_clips_made_elsewhere_are_known_by_their_bytes(tmp_path: Path) -> None:
    files = [tmp_path / name for name in "ab"]
    for file in files:
        file.write_bytes(file.name.encode())
    before = of_files("theirs", files)
    assert before["files"] == "theirs" and of_files("theirs", files) == before
    files[1].write_bytes(b"other")
    assert of_files("theirs", files)["hash"] != before["hash"]
