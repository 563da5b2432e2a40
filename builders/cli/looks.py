"""Commands that look at a corpus: what it has, whether it is right, how it looks."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from builders.cli.base import Corpus, Json, app, complete_config, say, say_json
from builders.corpus import storage
from builders.corpus.builder import FigureName
from builders.corpus.registry import card_path, find_corpus, sound_corpora
from builders.errors import CorpusError
from builders.repository.card import local_card


@app.command()
def info(corpus: Corpus, as_json: Json = False) -> None:
    """Count what the release holds, and list what is left out, shortened or missing."""
    from builders.repository import findings

    builder = find_corpus(corpus)
    facts, found = builder.describe(builder.release()), findings.find(builder)
    _, broken = sound_corpora()
    if as_json:
        say_json({"facts": facts, **found.as_json(), "skipped": [str(each) for each in broken]})
        return
    for fact, value in facts.items():
        say(f"{fact}: {value}")
    for line in found.lines():
        say(line)
    for each in broken:
        say(f"skipped: {each}")


@app.command()
def configs(corpus: Corpus, as_json: Json = False) -> None:
    """List the configs, their splits, and their rows where the shards are built."""
    from builders.repository import contents

    found = contents.configs(find_corpus(corpus))
    if as_json:
        say_json([each.as_json() for each in found])
        return
    for each in found:
        say(each)


@app.command()
def status(as_json: Json = False) -> None:
    """Say what is on disk of each corpus, what is missing, and how much the caches hold."""
    sound, broken = sound_corpora()
    found = {}
    for name in sound:
        try:
            found[name] = storage.status(find_corpus(name))
        except CorpusError as error:  # e.g. a variable that names no folder
            found[name] = {"error": str(error)}
    if as_json:
        say_json({**found, "skipped": [str(each) for each in broken]})
        return
    for name, state in found.items():
        say(name)
        for line in storage.lines(state):
            say(f"  {line}")
    for each in broken:
        say(f"skipped: {each}")


@app.command()
def validate(
    corpus: Corpus,
    deep: Annotated[
        bool, typer.Option("--deep", help="Read every archive again, and compare with the shards.")
    ] = False,
    records: Annotated[
        int, typer.Option(min=0, help="Records of each shard that --deep compares; 0: all.")
    ] = 16,
    seed: Annotated[int, typer.Option(help="Which records.")] = 0,
    as_json: Json = False,
) -> None:
    """Compare the release with what was published about it; exit code 1 where they differ."""
    from builders.repository import findings
    from builders.validation import compare as checks
    from builders.validation import report as reports
    from builders.validation.facts import check_facts

    builder = find_corpus(corpus)
    release = builder.release()
    verdicts = check_facts(builder.facts(), release)
    comparison = checks.compare_release(builder, release, records, seed) if deep else None
    found = findings.find(builder)
    if as_json:
        say_json({**reports.report(verdicts, comparison), **found.as_json()})
    else:
        # Whoever reads a file or a pipe has no terminal whose width would be the right one.
        console = Console(width=None if sys.stdout.isatty() else 200)
        for each in reports.show(verdicts, comparison):
            console.print(each)
        for line in found.lines():
            say(line)
    if not all(each.holds for each in verdicts) or (comparison and comparison.differences):
        raise typer.Exit(1)


@app.command()
def card(
    corpus: Corpus,
    write: Annotated[bool, typer.Option("--write", help="Replace the card in its folder.")] = False,
) -> None:
    """Print the dataset card that follows from the corpus' builder."""
    text = local_card(find_corpus(corpus))
    if write:
        card_path(find_corpus(corpus)).write_text(text, encoding="utf-8")
    else:
        typer.echo(text, nl=False)


@app.command()
def plot(
    corpus: Corpus,
    figure: Annotated[FigureName, typer.Argument(help="Which figure.")],
    out: Annotated[
        Path | None,
        typer.Option(help="A .png, .svg or .pdf.", show_default="CORPUS-FIGURE.png"),
    ] = None,
    config: Annotated[
        str | None,
        typer.Option(
            help="What to draw, e.g. a site.",
            show_default="all that the figure needs",
            autocompletion=complete_config,
        ),
    ] = None,
    note: Annotated[str, typer.Option(help="A small line below the figure.")] = "",
    cell: Annotated[str | None, typer.Option(help="Of the record: its cell_id.")] = None,
    stim: Annotated[str | None, typer.Option(help="Of the record: its stim or stim_id.")] = None,
    split: Annotated[str | None, typer.Option(help="Of the record: est or val.")] = None,
    dpi: Annotated[float, typer.Option(min=10, max=2400, help="Dots per inch of a .png.")] = 150,
    size: Annotated[
        tuple[float, float] | None,
        typer.Option(
            min=0.5, max=60, help="Width and height in inches.", show_default="8, as is needed"
        ),
    ] = None,
) -> None:
    """Draw a figure of the corpus."""
    from builders.plots import check_suffix, load, save

    path = out or Path(f"{corpus}-{figure}.png")
    check_suffix(path)
    drawn = load.draw(find_corpus(corpus), figure, config, note, cell=cell, stim=stim, split=split)
    save(drawn, path, dpi, size)
    say(path)
