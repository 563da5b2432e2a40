"""What all commands share: the app, its arguments, how they print, and how they end."""

from __future__ import annotations

import json
import os
import sys
import warnings
from typing import Annotated, Any

import typer

import builders
from builders.corpus.registry import corpora, find_corpus
from builders.errors import CorpusError, CorpusWarning
from builders.texts import shown

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False)

#: The exit code of a command that Ctrl-C ended.
INTERRUPTED = 130


def complete_corpus() -> list[str]:
    """The names of corpora, for the shell."""
    return sorted(corpora())


def complete_config(ctx: typer.Context) -> list[str]:
    """The names of the configs of the corpus that was typed, for the shell."""
    try:
        return list(find_corpus(ctx.params.get("corpus", "")).builder_configs)
    except CorpusError:
        return []


Corpus = Annotated[
    str,
    typer.Argument(help="Name of a corpus, e.g. wingert2026.", autocompletion=complete_corpus),
]
Configs = Annotated[
    list[str] | None,
    typer.Argument(help="All but the waveforms, if none is named.", autocompletion=complete_config),
]
Json = Annotated[bool, typer.Option("--json", help="For machines.")]


def _version(wanted: bool) -> None:
    if wanted:
        say(f"{builders.NAME} {builders.__version__}")
        raise typer.Exit


@app.callback()
def catalogue(
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="No progress bars, and no warnings of notes.")
    ] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Say the version.")
    ] = False,
) -> None:
    """Dataset builders for neural recordings of auditory cortex."""
    if quiet:
        from datasets import disable_progress_bars

        disable_progress_bars()
        warnings.simplefilter("ignore", CorpusWarning)


def say(text: object, err: bool = False) -> None:
    """Print lines for people, in which names out of a release are quoted."""
    typer.echo(shown(str(text)), err=err)


def say_json(value: Any) -> None:
    """Print a value for programs."""
    typer.echo(json.dumps(value, indent=2, default=str))


def main() -> None:
    """Run the command line; what a user or a file did wrong becomes a message and exit code 1.

    A reader that has read enough (``| head``) is no error. Ctrl-C ends the process at once: what
    was being written or fetched is not complete, and so does not count.
    """
    try:
        _run()
        sys.stdout.flush()
    except (CorpusError, OSError, MemoryError) as error:
        if isinstance(error, BrokenPipeError) and not _is_read():
            # Python flushes once more when it ends, into nothing.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return
        say(f"error: {error or 'not enough memory'}", err=True)
        sys.exit(1)


def _is_read() -> bool:
    """Whether anybody still reads what is printed; a connection may be broken as well."""
    try:
        typer.echo()  # to write nothing would tell nothing
    except BrokenPipeError:
        return False
    return True


def _run() -> None:
    """Run the app; its broken pipes and interrupts do not end in its own way."""
    stdout, stderr = sys.stdout, sys.stderr
    try:
        app()
    except SystemExit as end:
        if sys.stdout is not stdout:  # the app wraps a pipe that is broken
            sys.stdout, sys.stderr = stdout, stderr
            raise BrokenPipeError("a connection was closed") from end
        if end.code == INTERRUPTED:
            say("interrupted", err=True)
            os._exit(INTERRUPTED)  # running threads are not waited for
        if end.code:
            raise
