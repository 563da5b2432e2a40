"""What a release, or a log of ours, must never do: run code, command a terminal, tell a token."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from builders.cli import main
from builders.errors import CorpusError, RecordingError, unknown
from builders.repository.findings import Findings
from builders.shards.excluded import write_excluded
from builders.shards.notes import Note
from nat4.builder import Nat4
from tests.archives import CELL, SESSION, SPIKES, header, pack, recording, response
from tests.conftest import REPOSITORY, run_python
from tests.release.test_zenodo import as_published
from tests.servers.zenodo import Handler, ZenodoServer
from tests.shards.test_cells import CONTENT as CELL_LIST
from tests.shards.test_cells import read as read_cell_list
from tests.toy import EST, Toy

# -- No code comes out of data ---------------------------------------------------------------------

SOURCES = [
    path
    for folder in ("builders", "nat4", "wingert2026", "scripts")
    for path in sorted((REPOSITORY / folder).rglob("*.py"))
]
FUNCTIONS = {"eval", "exec", "compile", "__import__"}
METHODS = {"yaml.load", "yaml.unsafe_load", "yaml.full_load", "torch.load", "os.system"}
MODULES = {"pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}


def dangers(code: str) -> Iterator[str]:
    """What in a program could run code that comes as data."""
    for node in ast.walk(ast.parse(code)):
        match node:
            case ast.Call(func=ast.Name(id=name)) if name in FUNCTIONS:
                yield name
            case ast.Attribute() if ast.unparse(node) in METHODS:
                yield ast.unparse(node)
            case ast.Import(names=names):
                yield from {each.name.partition(".")[0] for each in names} & MODULES
            case ast.ImportFrom(module=str(module)):
                yield from {module.partition(".")[0]} & MODULES
            case ast.keyword(arg="allow_pickle" | "shell", value=value):
                if not (isinstance(value, ast.Constant) and value.value is False):
                    yield ast.unparse(node)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_no_source_runs_what_it_reads(path: Path) -> None:
    assert list(dangers(path.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize(
    "code",
    [
        "eval(text)",
        "exec(text, {})",
        "import pickle",
        "import os.path, dill.source as d",
        "from pickle import loads",
        "np.load(path, allow_pickle=True)",
        "np.load(path, allow_pickle=flag)",
        "yaml.load(text, Loader)",
        "run = yaml.unsafe_load",
        "torch.load(path)",
        "run(command, shell=True)",
    ],
)
def test_such_a_source_would_be_noticed(code: str) -> None:
    assert list(dangers(code))


def test_a_waveform_is_parsed_and_not_evaluated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    start, end = CELL_LIST.index(b'"['), CELL_LIST.index(b']"')
    code = b"__import__('pathlib').Path('gotcha').touch()"
    path = tmp_path / "cell_list.csv"
    path.write_bytes(CELL_LIST[:start] + b'"[' + code + CELL_LIST[end:])
    with pytest.raises(CorpusError, match="is no number"):
        read_cell_list(path)
    assert [each.name for each in tmp_path.iterdir()] == ["cell_list.csv"]


# -- No token goes anywhere ------------------------------------------------------------------------

TOKEN = "hf_DoNotTellAnyoneAboutThisOne"
# What a user does, and does wrong, with all logs turned on.
TALKS = """
import logging, os, sys, traceback
sys.stderr = sys.stdout
logging.basicConfig(level=logging.DEBUG, stream=sys.stdout)
import datasets
from datasets import load_dataset
from builders.cli import app
datasets.logging.set_verbosity_debug()

def attempt(act, *arguments):
    try:
        print(act(*arguments))
    except BaseException:
        traceback.print_exc()

attempt(load_dataset, "./nat4", "TNC008a")
attempt(load_dataset, "./nat4", "nope")
attempt(load_dataset, "parquet", None, None, "corpus://nat4/data/A1/nope/est.parquet")
os.environ["BUILDERS_OFFLINE"] = "1"
attempt(load_dataset, "./nat4", "PEG")
for command in ("fetch nat4 A1 --dry-run", "status", "info nat4", "fetch x"):
    attempt(app, command.split())
"""


def test_a_token_is_not_logged_stored_or_sent(
    own_home: Path, releases: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    heard = []
    answer = Handler.do_GET

    def listen(handler: Handler) -> None:
        heard.append(str(handler.headers))
        answer(handler)

    monkeypatch.setattr(Handler, "do_GET", listen)
    for variable in ("NAT4_DATA", "BUILDERS_OFFLINE"):
        monkeypatch.delenv(variable)
    for variable in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.setenv(variable, TOKEN)
    (own_home / "hf").mkdir()
    (own_home / "hf" / "token").write_text(TOKEN)
    published = own_home / "published"
    published.mkdir()
    with ZenodoServer(as_published(releases("nat4"), published), Nat4.record) as server:
        monkeypatch.setenv("ZENODO_ENDPOINT", server.url)
        said = run_python(TALKS, USE_TORCH="0")
    assert "GET /api/records" in said  # the logs are on
    assert said.count("CorpusError") >= 3
    assert TOKEN not in said
    assert heard
    assert not [each for each in heard if TOKEN in each or "uthorization" in each]
    files = [path for path in own_home.rglob("*") if path.is_file() and path.name != "token"]
    assert any(path.suffix == ".parquet" for path in files)
    assert not [path for path in files if TOKEN.encode() in path.read_bytes()]


# --- what a terminal would obey

ODD = "\x1b]0;owned\x07\x9b31m\u202e\r\x08"


@pytest.mark.parametrize(
    "say",
    [
        lambda: str(CorpusError(ODD, where=ODD, why=ODD, fix=ODD)),
        lambda: str(RecordingError(ODD, where=ODD, why=ODD, unit=ODD, corpus=ODD)),
        lambda: str(unknown(ODD, ODD, [ODD])),
        lambda: str(Note(ODD, ODD, ODD)),
        lambda: "\n".join(Findings([Note("S", ODD, ODD)], 1, 1, {ODD: ODD}).lines()),
    ],
)
def test_a_message_has_nothing_that_a_terminal_obeys(say: Callable[[], str]) -> None:
    said = say()
    assert all(letter.isprintable() or letter == "\n" for letter in said)
    assert r"\x1b]0;owned\x07" in said


@pytest.mark.parametrize("name", ["epoch", "cell", "member", "type", "file"])
def test_nothing_of_a_release_reaches_a_terminal_raw(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("BUILDERS_HOME", str(tmp_path / "builders"))
    toy, files, cell = Toy(tmp_path), recording(), f"{SESSION}-003-{ODD}"
    if name == "epoch":
        files = {**files, **response({CELL: SPIKES}, epochs=[(f"STIM_{ODD}", -1, 1)])}
    elif name == "cell":
        toy = Toy(tmp_path, {cell: "A1"})
        files |= response({CELL: SPIKES})
    elif name == "member":
        files = {f"../{ODD}": b"x"}
    elif name == "type":
        files[f"{SESSION}.resp.json"] = header(ODD)
    pack(toy.folder, files, f"{SESSION}_{ODD.replace('/', '')}.tgz" if name == "file" else "x.tgz")
    if name == "file":
        archive = next((tmp_path / "recordings").iterdir())
        archive.write_bytes(archive.read_bytes()[:200])
    try:
        toy.shard(EST)
        said = "\n".join(str(Note("", *each)) for each in toy.notes(EST))
    except CorpusError as error:
        said = str(error)
    assert r"\x1b]0;owned" in said
    assert all(letter.isprintable() or letter == "\n" for letter in said)


def test_the_command_line_shows_nothing_raw(
    own_home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_excluded("nat4", {f"TNC008a-{ODD}": ODD})
    for command in (["status"], ["info", "nat4"], ["exclude", "nat4", ODD], ["verify", ODD]):
        monkeypatch.setattr("sys.argv", ["builders", *command])
        with suppress(SystemExit):
            main()
    said = "".join(capsys.readouterr())
    assert said.count(r"\x1b]0;owned") >= 4
    assert "\x1b]0" not in said
