"""The house: imports go downward without circles, one landlord per library, functions short enough to see whole."""

import ast
import statistics
from collections.abc import Iterator
from pathlib import Path

TESTS = Path(__file__).parent.parent
SRC = TESTS.parent / "src" / "sfv"
FLOORS = {
    "errors": -1,
    "system": 0,
    "types": 0,
    "settings": 0,
    "limits": 1,
    "edm": 1,
    "media": 1,
    "kernels": 1,
    "measures": 2,
    "decoding": 2,
    "adversary": 2,
    "families": 3,
    "generation": 4,
    "data": 4,
    "speed": 5,
    "platforms": 5,
    "training": 6,
    "evaluation": 6,
    "batch": 6,
    "browser": 6,
    "costs": 7,
    "web": 7,
    "bench": 8,
    "doctor": 8,
    "serve": 8,
    "demo": 9,
    "ray": 9,
    "cli": 10,
}
LANDLORDS = {
    "av": {"media"},
    "PIL": {"media"},
    "pillow_heif": {"media"},
    "resvg_py": {"media"},
    "diffusers": {"families"},
    "transformers": {"families", "evaluation"},
    "huggingface_hub": {"families"},
    "tyro": {"cli"},
    "cv2": {"media"},
    "torchvision": set(),
    "openvino": {"speed"},
    "onnx": {"speed"},
    "onnxruntime": {"speed"},
    "ray": {"ray"},
    "filelock": {"serve", "ray"},
    "psutil": {"doctor"},
    "packaging": {"doctor"},
    "fastapi": {"web", "serve", "demo"},
    "starlette": {"web", "serve", "demo"},
    "uvicorn": {"serve", "demo"},
    "sqlalchemy": {"serve"},
    "psycopg": {"serve"},
    "boto3": {"serve"},
    "prometheus_client": {"serve"},
    "httpx": {"serve"},
    "triton": {"kernels"},
    "bitsandbytes": {"training"},
    "pickle": set(),
}
LONGEST, EXEMPT = 40, {"training/loop.py:run": 160}


def files() -> list[Path]:
    """Of the package; programs among the examples are for people to run by themselves."""
    return sorted(p for p in SRC.rglob("*.py") if p.parent != SRC / "examples")


def room(path: Path) -> str:
    parts = path.relative_to(SRC).parts
    return parts[0].removesuffix(".py")


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (a.name for a in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


def test_every_room_has_a_floor() -> None:
    rooms = {room(p) for p in files()} - {"__init__", "__main__"}
    assert rooms == set(FLOORS)


def test_imports_go_downward_only() -> None:
    wrong = []
    for path in files():
        here = room(path)
        if here not in FLOORS:
            continue
        for name in imports(path):
            if name.startswith("sfv.") and (there := name.split(".")[1]) != here and FLOORS[there] >= FLOORS[here]:
                wrong.append(f"{path.relative_to(SRC)} imports {name}")
    assert not wrong


def modules() -> dict[str, Path]:
    """Dotted name -> file."""
    named = {".".join(["sfv", *p.relative_to(SRC).with_suffix("").parts]): p for p in files()}
    return {name.removesuffix(".__init__"): path for name, path in named.items()}


def first_imports(path: Path, known: dict[str, Path]) -> set[str]:
    """Files of ours that this one imports as it is imported itself: not inside functions, not for types alone."""
    found: set[str] = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Import):
            found |= {a.name for a in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            parts = {f"{node.module}.{a.name}" for a in node.names}
            found |= {p if p in known else node.module for p in parts}
    return found & set(known)


def test_no_circle_between_files() -> None:
    known = modules()
    left = {name: first_imports(path, known) - {name} for name, path in known.items()}
    while free := [name for name, needs in left.items() if not needs & set(left)]:
        for name in free:
            del left[name]
    assert not left, "these files import each other in a circle, or import such files"


def test_one_landlord_per_library() -> None:
    wrong = [
        f"{path.relative_to(SRC)} imports {name}"
        for path in files()
        for name in imports(path)
        if room(path) not in LANDLORDS.get(name.split(".")[0], {room(path)})
    ]
    assert not wrong


def test_tests_stand_where_the_source_does() -> None:
    """tests/ROOM/test_NAME.py is about a file or a folder NAME in src/sfv/ROOM, or about the room; else a contract."""
    astray = []
    for path in sorted(TESTS.rglob("test_*.py")):
        room, name = path.parent.relative_to(TESTS), path.stem.removeprefix("test_")
        source = SRC / room
        stands = name == room.name or any(found.stem == name for found in source.rglob("*"))
        if room.parts != ("contracts",) and not (source.is_dir() and stands):
            astray.append(str(path.relative_to(TESTS)))
    assert not astray


def bodies() -> Iterator[tuple[str, int]]:
    for path in files():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                body = node.body[1:] if ast.get_docstring(node) and len(node.body) > 1 else node.body
                name = f"{path.relative_to(SRC)}:{node.name}"
                yield name, (body[-1].end_lineno or 0) - body[0].lineno + 1


def test_functions_can_be_seen_whole() -> None:
    lengths = dict(bodies())
    long = {n: v for n, v in lengths.items() if v > EXEMPT.get(n, LONGEST)}
    assert not long
    assert statistics.median(lengths.values()) <= 6
    assert statistics.quantiles(lengths.values(), n=10)[-1] <= 25


def test_public_functions_are_documented() -> None:
    silent = []
    for path in files():
        tree = ast.parse(path.read_text())
        assert ast.get_docstring(tree), f"{path} has no docstring"
        for node in tree.body:
            public = isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_")
            if public and not ast.get_docstring(node):  # type: ignore[arg-type]
                silent.append(f"{path.relative_to(SRC)}:{node.name}")  # type: ignore[union-attr]
    assert not silent
