"""The dataset card: a body written by hand, under YAML that follows from the builder."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import yaml

from builders.builder import CorpusBuilder, repository_url


def card_path(corpus: type[CorpusBuilder]) -> Path:
    """``README.md`` in the corpus' folder."""
    return Path(inspect.getfile(corpus)).parent / "README.md"


def local_card(corpus: type[CorpusBuilder]) -> str:
    """The card as it should stand in the corpus' folder: its globs begin with ``corpus://``."""
    return _card(corpus, repository_url(corpus.corpus))


def repository_card(corpus: type[CorpusBuilder]) -> bytes:
    """The card as the repository holds it: the same, with globs relative to the repository."""
    return _card(corpus, "").encode()


def _card(corpus: type[CorpusBuilder], base: str) -> str:
    path = card_path(corpus)
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    body = text.split("---\n", 2)[2] if text.startswith("---\n") else text
    metadata = {
        **corpus.card,
        "configs": [_config(corpus, each, base) for each in corpus.BUILDER_CONFIGS],
    }
    header = yaml.safe_dump(metadata, sort_keys=False, allow_unicode=True, width=120)
    return f"---\n{header}---\n{body}"


def _config(corpus: type[CorpusBuilder], config: Any, base: str) -> dict[str, Any]:
    entry: dict[str, Any] = {"config_name": config.name}
    if config.name == corpus.DEFAULT_CONFIG_NAME:
        entry["default"] = True
    files = []
    for split, globs in config.globs.items():
        paths = [base + glob for glob in globs]
        files.append({"split": split, "path": paths if len(paths) > 1 else paths[0]})
    entry["data_files"] = files
    if config.filters is not None:
        entry["filters"] = [list(each) for each in config.filters]  # no YAML anchors
    return entry
