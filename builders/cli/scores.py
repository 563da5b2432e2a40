"""The command that scores predictions."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from builders.cli.base import Corpus, Json, app, complete_config, say, say_json
from builders.corpus.registry import find_corpus
from builders.scoring import Convention


@app.command()
def score(
    corpus: Corpus,
    config: Annotated[
        str,
        typer.Argument(
            help="Whose val records: an area or a site.", autocompletion=complete_config
        ),
    ],
    predictions: Annotated[
        Path, typer.Argument(help="A Parquet file with cell_id, stim_id and prediction.")
    ],
    convention: Annotated[
        Convention, typer.Option(help="How the correlation is normalised.")
    ] = "schoppe",
    partial: Annotated[
        bool, typer.Option("--partial", help="Score what is there, and say what is not.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Score predictions of responses: correlation, raw and corrected for noise."""
    from builders.cli.report import report

    found = report(find_corpus(corpus), config, predictions, convention, partial=partial)
    if as_json:
        say_json({"corpus": corpus, "config": config, **found.as_json()})
        return
    for line in found.lines():
        say(line)
