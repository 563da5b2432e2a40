"""The package that ``builders new`` writes; a name stands for @name@ and @Name@ in its files."""

from __future__ import annotations

import keyword
from importlib.resources import files
from pathlib import Path

from builders.corpus.registry import NAME, corpora
from builders.errors import CorpusError

#: Where each file of the template goes.
PLACES = {
    "pyproject.toml": "pyproject.toml",
    "init.py": "{name}/__init__.py",
    "builder.py": "{name}/builder.py",
    "README.md": "{name}/README.md",
    "CITATION.bib": "{name}/CITATION.bib",
    "sites.csv": "{name}/sites.csv",
    "synthetic.py": "{name}/synthetic/__init__.py",
    "validation.py": "{name}/validation/__init__.py",
    "test_contract.py": "tests/test_{name}.py",
}


def write_package(name: str, folder: Path) -> list[Path]:
    """Write a package with a corpus of NEMS archives, to be filled in.

    Parameters
    ----------
    name : str
        Name of the corpus.
    folder : Path
        An empty folder, or one that does not exist yet.

    Returns
    -------
    list of Path
        The files. ``FILL IN`` marks each place that needs its author.

    Raises
    ------
    CorpusError
        If the name is not valid or taken, or the folder is not empty.
    """
    why = ""
    if not NAME.fullmatch(name) or keyword.iskeyword(name):
        why = "a name has lower-case letters, digits and _, and begins with a letter"
    elif name in corpora():
        why = "there is a corpus of this name"
    elif folder.exists() and any(folder.iterdir()):
        why = f"{folder} is not empty"
    if why:
        raise CorpusError(f"cannot write the corpus {name}", why=why, fix="choose another")
    written = []
    for file, place in PLACES.items():
        text = (files("builders.template") / f"{file}.txt").read_text(encoding="utf-8")
        path = folder / place.format(name=name)
        path.parent.mkdir(parents=True, exist_ok=True)
        title = "".join(part.capitalize() for part in name.split("_"))
        path.write_text(text.replace("@name@", name).replace("@Name@", title), encoding="utf-8")
        written.append(path)
    return written
