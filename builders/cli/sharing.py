"""Commands that write a corpus for others: to a folder, an object store, the Hub."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from builders.cli.base import Configs, Corpus, app, say
from builders.corpus.registry import find_corpus
from builders.errors import CorpusError
from builders.files import megabytes
from builders.urls import is_hub_name


@app.command()
def export(
    corpus: Corpus,
    out: Annotated[
        str, typer.Option(help="A folder, or any address that fsspec knows: s3://bucket/folder.")
    ],
    configs: Configs = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes that build shards.")] = 1,
    scheduler: Annotated[
        str | None, typer.Option(help="A Dask scheduler whose workers build them: tcp://host:8786.")
    ] = None,
) -> None:
    """Write the shards of some configs and the card, to be loaded without this package."""
    from builders.export.run import export

    done = export(find_corpus(corpus), configs or [], out, workers=workers, scheduler=scheduler)
    say(
        f"{len(done.manifest.shards)} shards, {len(done.written)} written now, "
        f"{megabytes(sum(shard.bytes for shard in done.manifest.shards.values()))}"
    )
    if done.failures:
        raise CorpusError("\n".join([*done.failures, f"{len(done.failures)} jobs failed"]))


@app.command()
def push(
    corpus: Corpus,
    repository: Annotated[str, typer.Argument(help="On the Hub: me/wingert2026.")],
    configs: Configs = None,
    public: Annotated[bool, typer.Option("--public", help="For all to see.")] = False,
    licence: Annotated[
        str, typer.Option(help="Its name on the Hub, e.g. cc-by-4.0, if the release names none.")
    ] = "",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would go up, and send nothing.")
    ] = False,
) -> None:
    """Export to a dataset repository on the Hugging Face Hub, private unless --public."""
    from builders.export import hub

    builder = find_corpus(corpus)
    done = hub.push(
        builder, repository, configs or [], public=public, licence=licence, dry_run=dry_run
    )
    for path, size in done.changed.items() if dry_run else ():
        say(f"{megabytes(size):>12}  {path}")
    for path in done.removed:
        say(f"{'to be removed' if dry_run else 'removed':>12}  {path}")
    sent = megabytes(sum(done.changed.values()))
    say(
        f"{sent:>12}  {'to send' if dry_run else 'sent'} in "
        f"{len(done.changed)} files; {len(done.manifest.shards)} shards in all, in the "
        f"{'private' if done.remote.private else 'public'} {repository}"
    )
    if not dry_run:
        say(f"read back and compared: all is there, at commit {done.remote.commit}")
        for line in done.loading():
            say(f"  {line}")


@app.command()
def verify(
    path: Annotated[
        str, typer.Argument(help="What was given to export --out, or to push: me/wingert2026.")
    ],
) -> None:
    """Compare an export with its manifest: sizes, checksums, files missing and too many."""
    from builders.export import folder

    if is_hub_name(path) and not Path(path).exists():
        from builders.export import hub

        problems = hub.verify_repository(path)
    else:
        problems = folder.verify_folder(path)
    for problem in problems:
        say(problem)
    if problems:
        raise CorpusError(f"{len(problems)} problems in {path}")
    say("as its manifest says")
