"""Finds the installed corpora, and the version of the code that writes their shards."""

from __future__ import annotations

import hashlib
import inspect
import re
from collections import Counter
from collections.abc import Iterator
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

import builders
from builders.conventions import SUBSETS
from builders.corpus.builder import CorpusBuilder
from builders.errors import CorpusError, MissingError, unknown

#: The code that determines a shard's content, besides the ``*.py`` files of its corpus' folder.
WRITERS = (
    *("families/*.py", "nems/*.py", "shards/*.py"),
    *("conventions.py", "schema.py", "texts.py", "threads.py"),
)
#: Class attributes that every corpus has.
REQUIRED = ("corpus", "source", "published", "card")
#: A corpus' name is that of a folder, and part of the name of an environment variable.
NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")
#: The splits of all configs but ``est`` and ``val``: see `SUBSETS`.
OTHER_SPLITS = ("cells", "waveforms")


@cache
def corpora() -> dict[str, EntryPoint]:
    """Name -> entry point of each installed corpus; its package may still be broken."""
    return {entry.name: entry for entry in entry_points(group="builders.corpora")}


def find_corpus(name: str) -> type[CorpusBuilder]:
    """The builder class of a corpus; if it is unknown, a `CorpusError` lists the sound ones."""
    if name not in corpora():
        raise unknown("corpus", name, sound_corpora()[0], error=MissingError)
    return _load(name)


def sound_corpora() -> tuple[list[str], list[CorpusError]]:
    """The names of the corpora that can be used, and an error for each of the others."""
    sound, errors = [], []
    for name in sorted(corpora()):
        try:
            find_corpus(name)
            sound.append(name)
        except CorpusError as error:
            errors.append(error)
    return sound, errors


@cache
def _load(name: str) -> type[CorpusBuilder]:
    """The class of a corpus; a `CorpusError` names its package and what is wrong with it."""
    entry = corpora()[name]
    where = f"{entry.value} of the package {entry.dist.name if entry.dist else '?'}"
    try:
        found = entry.load()
        wrong = list(_wrong(name, found))
    except (Exception, SystemExit) as error:  # any code may be imported
        raise CorpusError(
            f"the corpus {name} cannot be imported",
            where=where,
            why=f"{type(error).__name__}: {error}",
            fix="update or remove this package",
        ) from error
    if wrong:
        raise CorpusError(
            f"the corpus {name} is not complete",
            where=where,
            why="; ".join(wrong),
            fix="see builders.corpus.builder.CorpusBuilder",
        )
    corpus: type[CorpusBuilder] = found
    return corpus


def _wrong(name: str, corpus: Any) -> Iterator[str]:
    """What is wrong with the class of a corpus, each in some words."""
    installed = entry_points(group="builders.corpora", name=name)
    packages = {f"{each.value} of {each.dist.name if each.dist else '?'}" for each in installed}
    if len(packages) > 1:
        yield f"{len(packages)} packages have a corpus of this name: {', '.join(sorted(packages))}"
    if not (inspect.isclass(corpus) and issubclass(corpus, CorpusBuilder)):
        yield f"{corpus!r} is no CorpusBuilder"
        return
    lacking = [each for each in dir(corpus) if _is_abstract(corpus, each)]
    lacking += [each for each in REQUIRED if not hasattr(corpus, each)]
    if lacking:
        yield f"{corpus.__name__} lacks {', '.join(lacking)}"
        return
    if corpus.corpus != name:
        yield f"its attribute corpus is {corpus.corpus!r}, its entry point {name!r}"
    if not NAME.fullmatch(name):
        yield f"{name!r} is no name of lower-case letters, digits and _"
    names = Counter(config.name for config in corpus.BUILDER_CONFIGS)
    yield from (f"two configs are called {each}" for each, n in names.items() if n > 1)
    if corpus.DEFAULT_CONFIG_NAME not in names:
        yield f"DEFAULT_CONFIG_NAME is {corpus.DEFAULT_CONFIG_NAME!r}, which is no config"
    for config in corpus.BUILDER_CONFIGS:
        for split in set(config.globs).difference(SUBSETS, OTHER_SPLITS):
            yield f"the config {config.name} has a split {split!r}"
        for split, globs in (config.globs or {"": ()}).items():
            if isinstance(globs, str) or not globs:
                of_split = f" of the split {split}" if split else ""
                yield f"the config {config.name} has no tuple of globs{of_split}"
    if not card_path(corpus).exists():
        yield f"there is no card, {card_path(corpus)}"


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
