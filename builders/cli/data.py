"""Commands that write, fetch, remove or leave out data of a corpus, or begin a new one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from builders.cli.base import Configs, Corpus, Json, app, say, say_json
from builders.corpus import storage
from builders.corpus.builder import Scale
from builders.corpus.registry import find_corpus
from builders.errors import CorpusError, unknown
from builders.files import megabytes, total_size


@app.command()
def synthesize(
    corpus: Corpus,
    folder: Annotated[Path, typer.Argument(help="An empty or new folder.")],
    scale: Annotated[Scale, typer.Option(help="mini: megabytes; full: the published size.")] = (
        "mini"
    ),
    seed: Annotated[int, typer.Option(help="The same seed gives the same bytes.")] = 0,
    driven: Annotated[
        bool, typer.Option("--driven", help="Spikes follow from known filters: filters.npz.")
    ] = False,
) -> None:
    """Write a synthetic release in the published layout."""
    find_corpus(corpus).synthesize(folder, scale, seed, driven)


@app.command()
def fetch(
    corpus: Corpus,
    configs: Configs = None,
    waveforms: Annotated[bool, typer.Option("--waveforms", help="The sounds, too.")] = False,
    verify: Annotated[
        bool, typer.Option("--verify", help="Read all that is here, and fetch anew what is bad.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Fetch nothing but the lists of what there is.")
    ] = False,
    yes: Annotated[
        bool,
        typer.Option("--yes", help="Do not ask before a zip or tar is fetched whole."),
    ] = False,
    as_json: Json = False,
) -> None:
    """Fetch the release ahead of its use."""

    def ask(text: str) -> None:
        say(text)
        if dry_run:
            raise typer.Exit
        typer.confirm("Fetch it?", abort=True)

    def refuse(text: str) -> None:
        raise CorpusError(text, fix="fetch with --yes, or later")

    builder = find_corpus(corpus)
    release = builder.release()
    if not release.is_fetched:
        why = f"{corpus.upper()}_DATA names {release.folder}"
        if as_json:
            say_json({"to_fetch": {}, "why": why})
        else:
            say(f"nothing to fetch: {why}")
        return
    damaged = [*release.damaged()] if verify else []
    for path in damaged:
        if not as_json:
            say(f"damaged, {'to be ' if dry_run else ''}fetched anew: {path}")
        if not dry_run:
            path.unlink()
    if dry_run or not yes:
        release.before_whole = refuse if as_json else ask
    wanted = storage.archives_of(builder, release, configs or [])
    wanted += [release.archive("wav.zip")] if waveforms else []
    missing = [each for each in wanted if each.fetch and not each.path.is_file()]
    sizes = {str(each.path.relative_to(release.folder)): each.size for each in missing}
    n_here = len(wanted) - len(missing)
    if as_json:
        found = {"folder": release.folder, "here": n_here, "damaged": damaged}
        say_json({**found, "to_fetch": sizes, "bytes": sum(sizes.values())})
    else:
        for name, size in sizes.items():
            say(f"{megabytes(size):>12}  {name}")
        say(
            f"{megabytes(sum(sizes.values())):>12}  to fetch in {len(sizes)} files; {n_here} are "
            f"in {release.folder}"
        )
    if not yes:  # nobody can be asked from several threads
        release.before_whole = refuse
    if not dry_run and (failures := release.fetch_all(missing)):
        raise CorpusError("\n".join([*map(str, failures), f"{len(failures)} files not fetched"]))


@app.command()
def clean(
    corpus: Corpus,
    fetched: Annotated[bool, typer.Option("--fetched", help="The fetched release, too.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="For machines; asks nothing, removes only with --yes.")
    ] = False,
) -> None:
    """Remove the shards of a corpus, which are built again when they are next used.

    Files that this package has not made stay.
    """
    builder = find_corpus(corpus)
    found, told = {}, {}
    for name, folder in storage.caches(builder):
        if (fetched or name != "fetched") and (files := storage.own_files(builder, folder)):
            found[folder] = files
            size = total_size(files)
            told[name] = {"folder": folder, "files": len(files), "bytes": size}
            if not as_json:
                say(f"{name}: {folder}, {megabytes(size)}")
    if as_json:
        say_json({**told, "removed": yes})
    if found and (yes or (not as_json and typer.confirm("Remove?"))):
        failures = [line for each, files in found.items() for line in storage.remove(each, files)]
        if failures:
            raise CorpusError("\n".join([*failures, f"{len(failures)} files not removed"]))


@app.command()
def exclude(
    corpus: Corpus,
    unit: Annotated[str, typer.Argument(help="A session, a cell id, or a stim_id.")],
    because: Annotated[str, typer.Option(help="Why; every note says so.")] = "",
    undo: Annotated[bool, typer.Option("--undo", help="Take it in again.")] = False,
) -> None:
    """Leave a session, a cell or a stimulus out of a corpus, so that the rest can be used."""
    from builders.shards.excluded import check_unit, read_excluded, write_excluded

    builder = find_corpus(corpus)
    excluded = read_excluded(corpus)
    if undo:
        if unit not in excluded:
            raise unknown(f"name left out of {corpus}:", unit, excluded)
        del excluded[unit]
    elif not because.strip():
        raise CorpusError(
            f"cannot leave out {unit} without a reason",
            fix=f'say why: builders exclude {corpus} {unit} --because "..."',
        )
    else:
        check_unit(unit, [job.session for job in builder.jobs(builder.release())])
        excluded[unit] = because.strip()
    write_excluded(corpus, excluded)
    say(f"{unit} is {'taken in again' if undo else 'left out'}")


@app.command()
def new(
    name: Annotated[str, typer.Argument(help="The name of the corpus.")],
    folder: Annotated[Path | None, typer.Option(help="An empty folder; ./NAME by default.")] = None,
) -> None:
    """Write a package with a corpus of NEMS archives, to be filled in."""
    from builders.template import write_package

    for path in write_package(name, folder or Path(name)):
        say(str(path))
    say("next: pip install -e it, run pytest in it, and look for FILL IN")
