"""``python -m builders``: the same as the console script ``builders``."""

from builders.cli import main

main()
