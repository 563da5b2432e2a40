"""The card of an export: what was exported, from which release, and how to load it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from datasets import Features

from builders.corpus.builder import CorpusBuilder
from builders.corpus.registry import code_key
from builders.export.held import Held, size_of, without_sites
from builders.export.manifest import MANIFEST, Manifest, sha256
from builders.internals import features_for_card
from builders.repository.card import (
    CITATION,
    HERE,
    LISTED,
    card_body,
    config_entry,
    linked_files,
    with_yaml,
)

#: How many configs the first lines of a card name.
LISTED_CONFIGS = 8


def exported_card(
    corpus: type[CorpusBuilder],
    manifest: Manifest,
    there: list[Held],
    features: Mapping[str, Features],
    metadata: Mapping[str, Any],
) -> bytes:
    """The card of an export; it describes only what the manifest holds.

    Parameters
    ----------
    corpus : type of CorpusBuilder
        The corpus.
    manifest : Manifest
        What the export holds.
    there : list of Held
        The configs that it holds.
    features : mapping of str to Features
        Features of all shards of the corpus, by path.
    metadata : mapping
        Entries of the YAML that replace the corpus' own.
    """
    held = [each for each in there if each.splits]
    code = code_key(corpus)
    infos = [
        _info(each, manifest, features)
        for each in without_sites(held)
        # The features of shards that older code wrote are unknown.
        if all(
            manifest.shards[path].code == code for paths in each.splits.values() for path in paths
        )
    ]
    configs = [
        config_entry(
            corpus, each.config, "", {split: each.config.globs[split] for split in each.splits}
        )
        for each in held
    ]
    header = {**corpus.card, **metadata, "configs": configs, "dataset_info": infos}
    body = card_body(corpus).rstrip("\n").replace(f'"./{corpus.corpus}"', HERE)
    others = [path for path in features if not path.startswith("waveforms/")]
    if held and not manifest.shards.keys() >= set(others):
        body = _of_a_part(body, corpus, manifest, held)
    return with_yaml(header, f"{body}\n\n{_provenance(corpus, manifest, there)}").encode()


def _first_path(held: Held) -> str:
    return next(iter(held.splits.values()))[0]


def _of_a_part(body: str, corpus: type[CorpusBuilder], manifest: Manifest, held: list[Held]) -> str:
    """The body of a card that says at once what is here, and shows how to load that."""
    names = [f"`{each.config.name}`" for each in held]
    others = len(names) - LISTED_CONFIGS
    listed = ", ".join(names[:LISTED_CONFIGS]) + (f" and {others} more" if others > 0 else "")
    shown = next((each for each in held if _first_path(each).startswith("data/")), held[0])
    split, paths = next(iter(shown.splits.items()))
    rows = size_of(manifest, paths, shown.config)[0]
    told = (
        f"**This is a part of {corpus.corpus}: {listed}; [what is here](#what-is-here) has the "
        "numbers.** The text below describes the whole corpus."
    )
    title, _, text = body.lstrip().partition("\n\n")
    code = (
        "```python\nfrom datasets import load_dataset\n\n"
        f'rows = load_dataset({HERE}, "{shown.config.name}", split="{split}")  # {rows:,} rows\n'
        "```"
    )
    text = re.sub(r"^```python\n.*?^```$", lambda _: code, text, count=1, flags=re.M | re.S)
    text = re.sub(r"^## Configs\n.*?(?=^## )", "", text, count=1, flags=re.M | re.S)
    return f"\n{title}\n\n{told}\n\n{text}"


def _info(held: Held, manifest: Manifest, features: Mapping[str, Features]) -> dict[str, Any]:
    """Features and sizes of a config, in the form that `datasets` reads and checks after a load.

    `datasets` names its cached tables by a hash of the card's YAML, not of the shards. So the
    description contains a checksum: otherwise it would reuse the tables of an earlier export.
    """
    paths = [path for of_split in held.splits.values() for path in of_split]
    splits = []
    for split, of_split in held.splits.items():
        rows, memory = size_of(manifest, of_split, held.config)
        splits.append({"name": split, "num_bytes": memory, "num_examples": rows})
    checksums = "".join(manifest.shards[path].sha256 for path in sorted(manifest.shards))
    return {
        "config_name": held.config.name,
        "description": f"of an export with the checksum {sha256(checksums.encode())[:16]}",
        "features": features_for_card(features[paths[0]]),
        "splits": splits,
        "download_size": sum(manifest.shards[path].bytes for path in paths),
        "dataset_size": sum(split["num_bytes"] for split in splits),
    }


def _provenance(corpus: type[CorpusBuilder], manifest: Manifest, held: list[Held]) -> str:
    """What the export holds, how to use it, and what it was made from, as Markdown."""
    lines = ["## What is here", "", "| config | rows | size | |", "|---|---|---|---|"]
    for each in held:
        paths = [path for of_split in each.splits.values() for path in of_split]
        rows = [
            f"{split} {size_of(manifest, of_split, each.config)[0]:,}"
            for split, of_split in each.splits.items()
        ]
        size = sum(manifest.shards[path].bytes for path in paths) / 1e6
        lack = [f"incomplete: {each.missing} shards could not be made"] if each.missing else []
        lack += [f"no rows in {split}, which cannot be loaded" for split in each.empty]
        columns = f"`{each.config.name}`", ", ".join(rows), f"{size:,.1f} MB", "; ".join(lack)
        lines.append(f"| {' | '.join(columns)} |")
    lines += ["", *_join(held), *_SIZES_ARE_CHECKED, "", "## How it was made", ""]

    shards = manifest.shards.values()
    versions = " and ".join(sorted({shard.version for shard in shards}))
    lines += [
        f"By `builders export` of auditory-builders {versions}, from the release that its authors "
        f"published: {manifest.source}.",
        f"`{MANIFEST}` holds rows, size and SHA-256 of each shard, and the checksums of the files "
        "that it was made from; `builders verify` compares.",
        "",
    ]
    sources = manifest.lists | dict(pair for shard in shards for pair in shard.sources.items())
    if len(sources) <= LISTED:
        lines += ["| made from | checksum |", "|---|---|"]
        lines += [f"| `{name}` | `{sources[name]}` |" for name in sorted(sources)]
    else:
        lines += [f"It was made from {len(sources)} files."]
    lines += _notes(manifest)
    if bibliography := linked_files(corpus).get(CITATION):
        text = bibliography.decode().rstrip("\n")
        lines += ["", "## To be cited", "", "```bibtex", text, "```"]
    return "\n".join(lines) + "\n"


def _notes(manifest: Manifest) -> list[str]:
    """What is left out, shortened or missing, as Markdown."""
    notes = [f"{unit}: left out: {why}" for unit, why in manifest.excluded.items()]
    notes += [str(note) for note in manifest.notes()]
    if not notes:
        return []
    shown = [f"* {_escaped(note)}" for note in notes[:LISTED]]
    rest = len(notes) - len(shown)
    more = [f"* and {rest} more: see the `notes` in `{MANIFEST}`"] if rest else []
    return ["", "## What is left out, shortened or missing", "", *shown, *more]


def _escaped(text: str) -> str:
    return text.replace("*", r"\*").replace("_", r"\_").replace("<", "&lt;")


#: `datasets` compares a load with the sizes in the YAML, and fails if the user gives own filters.
_SIZES_ARE_CHECKED = (
    "`datasets` compares what it has loaded with the numbers of rows stated here: with `filters=` "
    'of your own, say `verification_mode="no_checks"`.',
)


def _join(held: list[Held]) -> list[str]:
    """How to find the spectrogram of a record, if the export holds both; Markdown."""
    splits = {each.config.name: each.splits for each in held}
    for name, of_config in splits.items():
        for split, paths in of_config.items():
            if paths[0].startswith("data/") and split in splits.get("stimuli", {}):
                return [
                    "A record and its spectrogram:",
                    "",
                    "```python",
                    f'records = load_dataset({HERE}, "{name}", split="{split}")',
                    f'stimuli = load_dataset({HERE}, "stimuli", split="{split}")',
                    'row_of = {stim_id: row for row, stim_id in enumerate(stimuli["stim_id"])}',
                    'spectrogram = stimuli[row_of[records[0]["stim_id"]]]["spectrogram"]',
                    "```",
                    "",
                ]
    return []
