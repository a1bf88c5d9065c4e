"""python -m sfv."""

from sfv.cli.main import entry

entry()
