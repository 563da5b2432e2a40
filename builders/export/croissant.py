"""``croissant.json``: an export's configs in the Croissant format, for search engines and tools.

The Hugging Face Hub writes such metadata itself where its viewer reads the data: for public
repositories. This file is for private ones, folders and object stores. It follows version 1.1 of
the format: https://docs.mlcommons.org/croissant/docs/croissant-spec-1.1.html
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from datasets import Audio, Features, List

from builders.corpus.builder import CorpusBuilder
from builders.export.held import Held, without_sites
from builders.repository.card import described

CROISSANT = "croissant.json"
VERSION = "http://mlcommons.org/croissant/1.1"

#: The ``@context`` that the format prescribes.
_CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "sc": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "dct": "http://purl.org/dc/terms/",
    "conformsTo": "dct:conformsTo",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "description": {"@container": "@language"},
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "name": {"@container": "@language"},
    **{
        term: f"cr:{term}"
        for term in (
            *("arrayShape", "citeAs", "column", "containedIn", "equivalentProperty", "extract"),
            *("field", "fileProperty", "fileObject", "fileSet", "format", "includes", "isArray"),
            *("isLiveDataset", "jsonPath", "key", "md5", "parentField", "path", "recordSet"),
            *("references", "regex", "repeated", "replace", "samplingRate", "separator", "source"),
            *("subField", "transform"),
        )
    },
}
_TYPES = {
    "string": "sc:Text",
    "bool": "sc:Boolean",
    "int32": "cr:Int32",
    "int64": "cr:Int64",
    "float32": "cr:Float32",
    "float64": "cr:Float64",
}


def croissant(
    corpus: type[CorpusBuilder],
    there: list[Held],
    features: Mapping[str, Features],
    metadata: Mapping[str, Any],
) -> bytes:
    """The Croissant metadata of an export: a set of files and a set of records for each split.

    Configs with a filter are left out, since the format knows no filters; so are single sites
    whose area the export holds.

    Parameters
    ----------
    corpus : type of CorpusBuilder
        The corpus.
    there : list of Held
        The configs that the export holds.
    features : mapping of str to Features
        Features of all shards of the corpus, by path.
    metadata : mapping
        As in the card's YAML: its ``license`` replaces the corpus' own.
    """
    told = described(corpus)
    whole = [each for each in there if not each.config.filters]
    held = [each for each in without_sites(whole) if each.splits]
    entries = {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": VERSION,
        "name": corpus.corpus,
        "alternateName": corpus.card["pretty_name"],
        "description": told["description"],
        "url": corpus.source,
        "license": metadata.get("license", told["license"]),
        "citeAs": told["citation"],
        "keywords": corpus.card.get("tags", []),
        "distribution": [file for each in held for file in _files(each)],
        "recordSet": [records for each in held for records in _records(each, features)],
    }
    return (
        json.dumps({key: each for key, each in entries.items() if each}, indent=1) + "\n"
    ).encode()


def _files(held: Held) -> list[dict[str, Any]]:
    return [
        {
            "@type": "cr:FileSet",
            "@id": f"{held.config.name}/{split}/files",
            "encodingFormat": "application/x-parquet",
            "includes": list(held.config.globs[split]),
        }
        for split in held.splits
    ]


def _records(held: Held, features: Mapping[str, Features]) -> list[dict[str, Any]]:
    sets = []
    for split, paths in held.splits.items():
        name = f"{held.config.name}/{split}"
        columns = features[paths[0]].items()
        fields = [_field(name, column, feature) for column, feature in columns]
        sets.append({"@type": "cr:RecordSet", "@id": name, "field": fields})
    return sets


def _field(records: str, column: str, feature: Any) -> dict[str, Any]:
    """A column; nested lists are arrays whose lengths are not known."""
    depth = 0
    while isinstance(feature, List):
        feature, depth = feature.feature, depth + 1
    sound = isinstance(feature, Audio)
    return {
        "@type": "cr:Field",
        "@id": f"{records}/{column}",
        "dataType": "sc:AudioObject" if sound else _TYPES[feature.dtype],
        **({"isArray": True, "arrayShape": ",".join(["-1"] * depth)} if depth else {}),
        "source": {
            "fileSet": {"@id": f"{records}/files"},
            "extract": {"column": column},
            **({"transform": {"jsonPath": "bytes"}} if sound else {}),
        },
    }
