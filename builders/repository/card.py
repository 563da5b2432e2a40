"""Makes the dataset card: YAML derived from the builder, and a body written by hand."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from builders.corpus.builder import CorpusBuilder
from builders.corpus.registry import card_path
from builders.urls import repository_url

CARD, CITATION = "README.md", "CITATION.bib"
#: The placeholder, in the code on an exported card, for the data set that the card describes.
HERE = '"<this folder or repository>"'
#: The heading above what a card says of licences.
LICENCE = "## Licence and citation\n"
#: Limit for the archive checksums on a card; the manifest lists all.
LISTED = 200


def local_card(corpus: type[CorpusBuilder]) -> str:
    """The card for the corpus' folder; its globs begin with ``corpus://``."""
    return _card(corpus, repository_url(corpus.corpus))


def repository_card(corpus: type[CorpusBuilder]) -> bytes:
    """The card for the repository: as `local_card`, with globs relative to the repository."""
    return _card(corpus, "").encode()


def linked_files(corpus: type[CorpusBuilder]) -> dict[str, bytes]:
    """Path -> content of the files in the corpus' folder that the card links to."""
    folder = card_path(corpus).parent
    paths = [*folder.glob(CITATION), *sorted(folder.glob("figures/*.png"))]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def _card(corpus: type[CorpusBuilder], base: str) -> str:
    configs = [config_entry(corpus, each, base, each.globs) for each in corpus.BUILDER_CONFIGS]
    return with_yaml({**corpus.card, "configs": configs}, card_body(corpus))


def card_body(corpus: type[CorpusBuilder]) -> str:
    """The part of a corpus' card that is written by hand: all but the YAML."""
    path = card_path(corpus)
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    return text.split("---\n", 2)[2] if text.startswith("---\n") else text


def described(corpus: type[CorpusBuilder]) -> dict[str, str]:
    """What ``builder.info`` of `datasets` says of a corpus, from its card and its citation."""
    body = card_body(corpus)
    title, text, *_ = [*body.strip().split("\n\n"), "", ""]
    citation = card_path(corpus).parent / CITATION
    return {
        "description": f"{title.lstrip('# ')}\n\n{text}".strip(),
        "citation": citation.read_text(encoding="utf-8") if citation.exists() else "",
        "homepage": corpus.source,
        "license": corpus.card.get("license")
        or body.partition(LICENCE)[2].strip().split("\n\n")[0],
    }


def with_yaml(metadata: Mapping[str, Any], body: str) -> str:
    """A card of this YAML and body."""
    header = yaml.safe_dump(dict(metadata), sort_keys=False, allow_unicode=True, width=120)
    return f"---\n{header}---\n{body}"


def config_entry(
    corpus: type[CorpusBuilder], config: Any, base: str, globs: Mapping[str, tuple[str, ...]]
) -> dict[str, Any]:
    """One config as the YAML of a card lists it: its name, and the files of each split."""
    entry: dict[str, Any] = {"config_name": config.name}
    if config.name == corpus.DEFAULT_CONFIG_NAME:
        entry["default"] = True
    files = []
    for split, of_split in globs.items():
        paths = [base + glob for glob in of_split]
        files.append({"split": split, "path": paths if len(paths) > 1 else paths[0]})
    entry["data_files"] = files
    if config.filters is not None:
        entry["filters"] = [list(each) for each in config.filters]  # no YAML anchors
    return entry
