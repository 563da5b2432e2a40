"""The console script ``builders``."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from builders.corpus import storage
from builders.corpus.builder import FigureName, Scale
from builders.corpus.registry import card_path, find_corpus, sound_corpora
from builders.errors import CorpusError, unknown
from builders.files import megabytes, total_size
from builders.repository.card import local_card
from builders.texts import shown

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
    driven: Annotated[
        bool, typer.Option("--driven", help="Spikes follow from known filters: filters.npz.")
    ] = False,
) -> None:
    """Write a synthetic release in the published layout."""
    find_corpus(corpus).synthesize(folder, scale, seed, driven)


@app.command()
def info(
    corpus: Corpus,
    as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False,
) -> None:
    """Count what the release holds, and list what is left out, shortened or missing."""
    from builders.repository import findings

    builder = find_corpus(corpus)
    facts, found = builder.describe(builder.release()), findings.find(builder)
    if as_json:
        typer.echo(json.dumps({"facts": facts, **found.as_json()}, indent=2, default=str))
        return
    for fact, value in facts.items():
        _say(f"{fact}: {value}")
    for line in found.lines():
        _say(line)


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
    _say(f"{unit} is {'taken in again' if undo else 'left out'}")


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
    as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False,
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
        report = {**reports.report(verdicts, comparison), **found.as_json()}
        typer.echo(json.dumps(report, indent=2, default=str))
    else:
        # Whoever reads a file or a pipe has no terminal whose width would be the right one.
        console = Console(width=None if sys.stdout.isatty() else 200)
        for each in reports.show(verdicts, comparison):
            console.print(each)
        for line in found.lines():
            _say(line)
    if not all(each.holds for each in verdicts) or (comparison and comparison.differences):
        raise typer.Exit(1)


@app.command()
def new(
    name: Annotated[str, typer.Argument(help="The name of the corpus.")],
    folder: Annotated[Path | None, typer.Option(help="An empty folder; ./NAME by default.")] = None,
) -> None:
    """Write a package with a corpus of NEMS archives, to be filled in."""
    from builders.template import write_package

    for path in write_package(name, folder or Path(name)):
        _say(str(path))
    _say("next: pip install -e it, run pytest in it, and look for FILL IN")


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


@app.command()
def fetch(
    corpus: Corpus,
    configs: Annotated[list[str] | None, typer.Argument(help="All configs, if none is named.")] = (
        None
    ),
    waveforms: Annotated[bool, typer.Option("--waveforms", help="The sounds, too.")] = False,
    verify: Annotated[
        bool, typer.Option("--verify", help="Read all that is here, and fetch anew what is bad.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Fetch nothing but the lists of what there is.")
    ] = False,
    yes: Annotated[
        bool,
        typer.Option("--yes", help="Do not ask before a zip is fetched whole for a part of it."),
    ] = False,
) -> None:
    """Fetch the release ahead of its use."""

    def ask(text: str) -> None:
        _say(text)
        if dry_run:
            raise typer.Exit
        typer.confirm("Fetch it?", abort=True)

    def refuse(text: str) -> None:
        raise CorpusError(text, fix="fetch with --yes, or later")

    builder = find_corpus(corpus)
    release = builder.release()
    if not release.is_fetched:
        _say(f"nothing to fetch: {corpus.upper()}_DATA names {release.folder}")
        return
    for path in release.damaged() if verify else ():
        _say(f"damaged, {'to be ' if dry_run else ''}fetched anew: {path}")
        if not dry_run:
            path.unlink()
    if dry_run or not yes:
        release.before_whole = ask
    wanted = storage.archives_of(builder, release, configs or [])
    wanted += [release.archive("wav.zip")] if waveforms else []
    missing = [each for each in wanted if each.fetch and not each.path.is_file()]
    for each in missing:
        _say(f"{megabytes(each.size):>12}  {each.path.relative_to(release.folder)}")
    _say(
        f"{megabytes(sum(each.size for each in missing)):>12}  to fetch in {len(missing)} "
        f"files; {len(wanted) - len(missing)} are in {release.folder}"
    )
    if not yes:  # nobody can be asked from several threads
        release.before_whole = refuse
    if not dry_run and (failures := release.fetch_all(missing)):
        raise CorpusError("\n".join([*map(str, failures), f"{len(failures)} files not fetched"]))


@app.command()
def status() -> None:
    """Say what is on disk of each corpus, what is missing, and how much the caches hold."""
    sound, broken = sound_corpora()
    for name in sound:
        _say(name)
        try:
            for line in storage.status(find_corpus(name)):
                _say(f"  {line}")
        except CorpusError as error:  # e.g. a variable that names no folder
            _say(f"  {error}")
    for each in broken:
        _say(f"skipped: {each}")


@app.command()
def clean(
    corpus: Corpus,
    fetched: Annotated[bool, typer.Option("--fetched", help="The fetched release, too.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Remove the shards of a corpus, which are built again when they are next used.

    Files that this package has not made stay.
    """
    builder = find_corpus(corpus)
    found = {}
    for name, folder in storage.caches(builder):
        if (fetched or name != "fetched") and (files := storage.own_files(builder, folder)):
            found[folder] = files
            _say(f"{name}: {folder}, {megabytes(total_size(files))}")
    if found and (yes or typer.confirm("Remove?")):
        failures = [line for each, files in found.items() for line in storage.remove(each, files)]
        if failures:
            raise CorpusError("\n".join([*failures, f"{len(failures)} files not removed"]))


@app.command()
def export(
    corpus: Corpus,
    out: Annotated[
        str, typer.Option(help="A folder, or any address that fsspec knows: s3://bucket/folder.")
    ],
    configs: Annotated[
        list[str] | None, typer.Argument(help="All but the waveforms, if none is named.")
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes that build shards.")] = 1,
    scheduler: Annotated[
        str | None, typer.Option(help="A Dask scheduler whose workers build them: tcp://host:8786.")
    ] = None,
) -> None:
    """Write the shards of some configs and the card, to be loaded without this package."""
    from builders.export.run import export

    done = export(find_corpus(corpus), configs or [], out, workers=workers, scheduler=scheduler)
    _say(
        f"{len(done.manifest.shards)} shards, {len(done.written)} written now, "
        f"{megabytes(sum(shard.bytes for shard in done.manifest.shards.values()))}"
    )
    if done.failures:
        raise CorpusError("\n".join([*done.failures, f"{len(done.failures)} jobs failed"]))


@app.command()
def push(
    corpus: Corpus,
    repository: Annotated[str, typer.Argument(help="On the Hub: me/wingert2026.")],
    configs: Annotated[
        list[str] | None, typer.Argument(help="All but the waveforms, if none is named.")
    ] = None,
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
        _say(f"{megabytes(size):>12}  {path}")
    for path in done.removed:
        _say(f"{'to be removed' if dry_run else 'removed':>12}  {path}")
    sent = megabytes(sum(done.changed.values()))
    _say(
        f"{sent:>12}  {'to send' if dry_run else 'sent'} in "
        f"{len(done.changed)} files; {len(done.manifest.shards)} shards in all, in the "
        f"{'private' if done.remote.private else 'public'} {repository}"
    )
    if not dry_run:
        _say(f"read back and compared: all is there, at commit {done.remote.commit}")
        for line in done.loading():
            _say(f"  {line}")


@app.command()
def verify(
    path: Annotated[
        str, typer.Argument(help="What was given to export --out, or to push: me/wingert2026.")
    ],
) -> None:
    """Compare an export with its manifest: sizes, checksums, files missing and too many."""
    from builders.export import folder, hub
    from builders.export.remote import is_name

    on_hub = is_name(path) and not Path(path).exists()
    problems = hub.verify_repository(path) if on_hub else folder.verify_folder(path)
    for problem in problems:
        _say(problem)
    if problems:
        raise CorpusError(f"{len(problems)} problems in {path}")
    _say("as its manifest says")


@app.command()
def plot(
    corpus: Corpus,
    figure: Annotated[FigureName, typer.Argument(help="Which figure.")],
    out: Annotated[
        Path | None, typer.Option(help="A .png, .svg or .pdf [default: <corpus>-<figure>.png].")
    ] = None,
    config: Annotated[
        str | None, typer.Option(help="What to draw, e.g. a site [default: all the figure needs].")
    ] = None,
    note: Annotated[str, typer.Option(help="A small line below the figure.")] = "",
) -> None:
    """Draw a figure of the corpus."""
    from builders.plots import check_suffix, load, save

    path = out or Path(f"{corpus}-{figure}.png")
    check_suffix(path)
    save(load.draw(find_corpus(corpus), figure, config, note), path)
    _say(path)


def _say(text: object, err: bool = False) -> None:
    """Print lines for people, in which names out of a release are quoted."""
    typer.echo(shown(str(text)), err=err)


def main() -> None:
    """Run the command line; what a user or a file did wrong becomes a message and exit code 1."""
    try:
        app()
    except (CorpusError, OSError, MemoryError) as error:
        _say(f"error: {error or 'not enough memory'}", err=True)
        sys.exit(1)
