"""python -m sfv."""

from sfv.cli import entry

entry()
