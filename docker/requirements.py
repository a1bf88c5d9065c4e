"""Print what a pyproject.toml requires with some of its extras: FILE EXTRA,EXTRA. For a layer of the image."""

import sys
import tomllib
from pathlib import Path


def required(text: str, extras: list[str]) -> list[str]:
    """Requirements of the project and of its extras; SystemExit names an extra that it does not have."""
    project = tomllib.loads(text)["project"]
    known = project["optional-dependencies"]
    if unknown := [e for e in extras if e not in known]:
        sys.exit(f"extra {unknown[0]!r} is none of {', '.join(known)}")
    return list(dict.fromkeys(project["dependencies"] + [r for e in extras for r in known[e]]))


if __name__ == "__main__":
    print(*required(Path(sys.argv[1]).read_text(), [e for e in sys.argv[2].split(",") if e]), sep="\n")
