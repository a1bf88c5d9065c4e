"""python -m sfv, and the console script: Ctrl-C while libraries are read is one line, too."""

import sys
from typing import NoReturn


def run() -> NoReturn:
    """The command line."""
    try:
        from sfv.cli.main import entry

        entry()
    except KeyboardInterrupt:
        print("sfv: stopped", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    run()
