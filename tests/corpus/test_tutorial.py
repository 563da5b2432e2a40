"""The tutorial builds a corpus from nothing; and how many lines a corpus takes."""

from __future__ import annotations

import ast
import io
import os
import re
import subprocess
import sys
import tokenize
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY
from tests.test_snippets import blocks

TUTORIAL = REPOSITORY / "docs" / "new_corpus.md"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the package of the tutorial, installed as an editable package is."""
    return write_package(tmp_path_factory.mktemp("tutorial"))


def write_package(folder: Path) -> Path:
    """Write the package of the tutorial, and its card, into a folder that can be on the path."""
    package = folder / "lab2020"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(blocks(TUTORIAL, "py")[0])
    (package / "README.md").write_text(blocks(TUTORIAL, "md")[0])
    (project,) = blocks(TUTORIAL, "toml")
    entry = re.search(r"^lab2020 = \"(.*)\"$", project, re.M)
    assert entry
    installed = folder / "lab2020-1.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: lab2020\nVersion: 1\n")
    (installed / "entry_points.txt").write_text(f"[builders.corpora]\nlab2020 = {entry[1]}\n")
    assert run(folder, "builders", "card", "lab2020", "--write").returncode == 0
    return folder


def run(place: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    paths = [str(place), str(REPOSITORY), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    return subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=place,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(filter(None, paths)),
            "BUILDERS_HOME": str(place / "builders"),
            "HF_HOME": str(place / "hf"),
            "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
            **environment,
        },
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_commands_of_the_tutorial(place: Path) -> None:
    """All but the first, which makes the corpus known: `write_package` does the same."""
    install, *commands = [line.split() for line in blocks(TUTORIAL, "")[0].splitlines()]
    assert install[:2] == ["pip", "install"]
    said, environment = {}, {}
    for first, *arguments in commands:
        if first == "export":
            environment |= dict(each.split("=") for each in arguments)
            continue
        done = run(place, first, *arguments, **environment)
        said[arguments[0]] = done.stdout
        # The release is a small one, and so has fewer sessions than the facts say.
        assert done.returncode == (arguments[0] == "validate"), done.stderr
    assert list(said) == ["synthesize", "card", "status", "info", "validate"]
    assert "lab2020" in said["status"]
    assert "sessions: 3" in said["info"]
    assert "MISMATCH" in said["validate"]
    assert "; 0 differences" in said["validate"]
    assert "config_name: ABC001a" in (place / "lab2020" / "README.md").read_text()


def test_the_release_that_the_tutorial_shows_is_the_one_that_its_code_writes(place: Path) -> None:
    done = run(place, "builders", "synthesize", "lab2020", str(place / "shown"))
    assert done.returncode == 0, done.stderr
    spikes, *trials, sound = blocks(TUTORIAL, "text")[0].replace("...", "").split("\n")[:3]
    file, trial = spikes.split(maxsplit=1)
    written = (place / "shown" / file).read_text().splitlines()
    for shown, line in zip([trial, *trials], written, strict=False):
        assert line.startswith(shown.strip())
    assert (place / "shown" / sound).is_file()


LESS = """
    @classmethod
    def jobs(cls, release):
        return super().jobs(release)[:-2]

    @classmethod
    def facts"""
CONTRACT = ("pytest", "-q", "-p", "no:cacheprovider", "--pyargs", "builders.testing", "--corpus")


def test_the_contract_holds_for_the_tutorial(place: Path) -> None:
    done = run(place, *CONTRACT, "lab2020")
    assert done.returncode == 0, done.stdout[-3000:]
    assert re.search(r"\d\d passed", done.stdout)


@pytest.mark.parametrize(
    ("old", "new", "broken"),
    [
        ("    @classmethod\n    def facts", LESS, "one_record_for_each_pair"),
        ("bands.abs()[1:81, :-1]", "torch.rand(80, 150)", "as_released"),
    ],
    ids=["a session less", "another spectrogram each time"],
)
def test_the_contract_finds_a_corpus_that_does_not_keep_it(
    place: Path, tmp_path: Path, old: str, new: str, broken: str
) -> None:
    other = tmp_path / "place"
    other.mkdir()
    for path in (*place.glob("lab2020/*.*"), *place.glob("lab2020-1.dist-info/*")):
        target = other / path.relative_to(place)
        target.parent.mkdir(exist_ok=True)
        target.write_bytes(path.read_bytes())
    code = other / "lab2020" / "__init__.py"
    assert old in code.read_text()
    code.write_text(code.read_text().replace(old, new))
    done = run(other, *CONTRACT, "lab2020", "-k", broken)
    assert done.returncode == 1, done.stdout[-3000:]
    assert " failed" in done.stdout, done.stdout[-6000:]


def test_a_new_package_passes_its_tests_as_it_is_written(tmp_path: Path) -> None:
    done = run(tmp_path, "builders", "new", "my_lab", "--folder", "package")
    assert done.returncode == 0, done.stderr
    package = tmp_path / "package"
    written = [path for path in package.rglob("*") if path.is_file()]
    assert len(written) == 9
    assert all(str(path.relative_to(tmp_path)) in done.stdout for path in written)
    texts = [path.read_text() for path in written]
    assert sum("FILL IN" in text for text in texts) >= 5
    assert not any("@" in text.replace("@classmethod", "").replace("@misc", "") for text in texts)
    assert sum(lines(path.read_text()) for path in package.glob("my_lab/**/*.py")) <= 150

    installed = package / "my_lab-1.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: my_lab\nVersion: 1\n")
    entries = "[builders.corpora]\nmy_lab = my_lab.builder:MyLab\n"
    assert '\nmy_lab = "my_lab.builder:MyLab"\n' in (package / "pyproject.toml").read_text()
    (installed / "entry_points.txt").write_text(entries)
    done = run(package, "pytest", "-q", "-p", "no:cacheprovider", "tests")
    assert done.returncode == 0, done.stdout[-3000:]


@pytest.mark.parametrize(
    ("name", "why"), [("nat4", "there is a corpus"), ("My-Lab", "lower-case"), ("class", "letter")]
)
def test_a_name_that_no_corpus_can_have(tmp_path: Path, name: str, why: str) -> None:
    done = run(tmp_path, "builders", "new", name)
    assert done.returncode == 1
    assert why in done.stderr
    assert not (tmp_path / name).exists()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").touch()
    done = run(tmp_path, "builders", "new", "mine")
    assert "is not empty" in done.stderr
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.tex"]


def lines(text: str) -> int:
    """The lines of code in a module: not blank, no comment, no docstring."""
    code: set[int] = set()
    skipped = (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT)
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in (*skipped, tokenize.ENDMARKER):
            code.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(
            node
        ):
            of = node.body[0]
            code.difference_update(range(of.lineno, (of.end_lineno or of.lineno) + 1))
    return len(code)


def lines_of(*paths: str) -> int:
    files = [file for path in paths for file in REPOSITORY.glob(path)]
    assert files
    return sum(lines(file.read_text()) for file in files)


def test_a_corpus_is_short() -> None:
    assert lines(blocks(TUTORIAL, "py")[0]) <= 60
    assert lines_of("espejo2019/**/*.py") <= 200
    # Builder, reference (which is inherited) and synthesis; its facts are many.
    assert lines_of("wingert2026/*.py", "wingert2026/synthetic/*.py") < 250
