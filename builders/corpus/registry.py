"""Finds the installed corpora, and the version of the code that writes their shards."""

from __future__ import annotations

import hashlib
import inspect
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import builders
from builders.corpus.builder import CorpusBuilder
from builders.errors import CorpusError, MissingError, unknown

#: The code that determines a shard's content, besides the ``*.py`` files of its corpus' folder.
WRITERS = (
    *("families/*.py", "nems/*.py", "shards/*.py"),
    *("conventions.py", "schema.py", "texts.py", "threads.py"),
)


#: Class attributes that every corpus has.
REQUIRED = ("corpus", "source", "record", "published", "card")


@cache
def corpora() -> dict[str, Any]:
    """Name -> entry point of each installed corpus."""
    return {entry.name: entry for entry in entry_points(group="builders.corpora")}


def find_corpus(name: str) -> type[CorpusBuilder]:
    """The builder class of a corpus; if it is unknown, a `CorpusError` lists the corpora."""
    known = corpora()
    if name not in known:
        raise unknown("corpus", name, known, error=MissingError)
    return _load(name)


@cache
def _load(name: str) -> type[CorpusBuilder]:
    """The class of a corpus; if it is incomplete, a `CorpusError` names what is missing."""
    corpus: type[CorpusBuilder] = corpora()[name].load()
    methods = [each for each in dir(corpus) if _is_abstract(corpus, each)]
    lacking = methods + [each for each in REQUIRED if not hasattr(corpus, each)]
    if lacking:
        raise CorpusError(
            f"the corpus {name} is not complete",
            where=inspect.getfile(corpus),
            why=f"{corpus.__name__} lacks {', '.join(lacking)}",
            fix="see builders.corpus.builder.CorpusBuilder",
        )
    return corpus


def _is_abstract(corpus: type[CorpusBuilder], name: str) -> bool:
    return bool(getattr(inspect.getattr_static(corpus, name), "__isabstractmethod__", False))


def code_key(corpus: type[CorpusBuilder]) -> str:
    """A hash of the code that writes the corpus' shards."""
    package = Path(builders.__file__).parent
    shared = [path for pattern in WRITERS for path in sorted(package.glob(pattern))]
    own = sorted(Path(inspect.getfile(corpus)).parent.glob("*.py"))
    return hashlib.sha256(b"".join(path.read_bytes() for path in shared + own)).hexdigest()


def card_path(corpus: type[CorpusBuilder]) -> Path:
    """Path of ``README.md`` in the corpus' folder."""
    return Path(inspect.getfile(corpus)).parent / "README.md"
