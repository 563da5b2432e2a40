"""Coverage-guided fuzzing: ``python -m fuzz.run TARGET [libFuzzer's options] [folders of seeds]``.

A crash is written to the current folder, or under ``-artifact_prefix=``; give it as the last
argument to see it again. What is found becomes a test in ``tests/hardening/``.
"""

from __future__ import annotations

import sys

import atheris

with atheris.instrument_imports(include=["builders", "tarfile", "csv", "nat4", "wingert2026"]):
    from fuzz.targets import TARGETS


def main() -> None:
    target = TARGETS[sys.argv.pop(1)]
    atheris.Setup(sys.argv, target)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
