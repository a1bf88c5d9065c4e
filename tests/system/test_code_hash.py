"""A hash of our own program text."""

from pathlib import Path

from sfv.system.code_hash import hash_of_text, sources


def test_a_hash_knows_every_module_of_its_places_and_no_other(tmp_path: Path) -> None:
    for name in ("edm/noise.py", "edm/deep/er.py", "media/pixels.py", "media/videos.py", "edm/notes.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x = 1\n")
    places, before = ("edm", "media/pixels.py"), hash_of_text(tmp_path, ("edm", "media/pixels.py"))
    for name, counts in (("media/videos.py", False), ("edm/notes.txt", False), ("edm/deep/er.py", True)):
        (tmp_path / name).write_text("x = 2\n")
        assert (hash_of_text(tmp_path, places) != before) == counts, name
    (tmp_path / "edm/deep/er.py").write_bytes(b"x = 1\r\n")  # as git writes it on Windows
    assert hash_of_text(tmp_path, places) == before


def test_of_the_package_itself() -> None:
    assert sources("edm") == sources("edm") != sources("edm", "types.py")
