"""The console script ``builders``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from builders.builder import Scale, find_corpus
from builders.card import card_path, local_card
from builders.errors import CorpusError

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, add_completion=False)

Corpus = Annotated[str, typer.Argument(help="Name of a corpus, e.g. wingert2026.")]


@app.callback()
def catalogue() -> None:
    """Dataset builders for neural recordings of auditory cortex."""


@app.command()
def synthesize(
    corpus: Corpus,
    folder: Annotated[Path, typer.Argument(help="An empty or new folder.")],
    scale: Annotated[Scale, typer.Option(help="mini: megabytes; full: the published size.")] = (
        "mini"
    ),
    seed: Annotated[int, typer.Option(help="The same seed gives the same bytes.")] = 0,
) -> None:
    """Write a synthetic release in the published layout."""
    find_corpus(corpus).synthesize(folder, scale, seed)


@app.command()
def info(corpus: Corpus) -> None:
    """Count what the release holds."""
    builder = find_corpus(corpus)
    for fact, value in builder.describe(builder.release()).items():
        typer.echo(f"{fact}: {value}")


@app.command()
def card(
    corpus: Corpus,
    write: Annotated[bool, typer.Option("--write", help="Replace the card in its folder.")] = False,
) -> None:
    """Print the dataset card with the YAML that follows from the builder."""
    text = local_card(find_corpus(corpus))
    if write:
        card_path(find_corpus(corpus)).write_text(text, encoding="utf-8")
    else:
        typer.echo(text, nl=False)


def main() -> None:
    """Run the command line; what a user or a file did wrong becomes a message and exit code 1."""
    try:
        app()
    except (CorpusError, OSError) as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(1)
