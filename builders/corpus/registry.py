"""Which corpora are installed, and which version of the code writes their shards."""

from __future__ import annotations

import hashlib
import inspect
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import builders
from builders.corpus.builder import CorpusBuilder
from builders.errors import unknown

#: What decides on a shard's content, besides the top of its corpus' folder.
WRITERS = ("nems/*.py", "shards/*.py", "schema.py", "texts.py", "threads.py")


@cache
def corpora() -> dict[str, Any]:
    """The entry points of the installed corpora, by name."""
    return {entry.name: entry for entry in entry_points(group="builders.corpora")}


def find_corpus(name: str) -> type[CorpusBuilder]:
    """The builder class of a corpus; a `CorpusError` lists the corpora if there is none."""
    known = corpora()
    if name not in known:
        raise unknown("corpus", name, known)
    corpus: type[CorpusBuilder] = known[name].load()
    return corpus


def code_key(corpus: type[CorpusBuilder]) -> str:
    """Changes when the code that writes the corpus' shards does."""
    package = Path(builders.__file__).parent
    shared = [path for pattern in WRITERS for path in sorted(package.glob(pattern))]
    own = sorted(Path(inspect.getfile(corpus)).parent.glob("*.py"))
    return hashlib.sha256(b"".join(path.read_bytes() for path in shared + own)).hexdigest()


def card_path(corpus: type[CorpusBuilder]) -> Path:
    """``README.md`` in the corpus' folder."""
    return Path(inspect.getfile(corpus)).parent / "README.md"
