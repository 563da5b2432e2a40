"""Pages of the documentation that lie outside of ``docs/``: the cards. A hook of mkdocs.

In ``docs/``, links lead out of the folder, as GitHub shows them. On the site, the cards and their
pictures are pages like all others, and files of the code are links to the repository.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

REPOSITORY = Path(__file__).parent.parent
CARDS = ("wingert2026", "nat4", "espejo2019")
#: A link to a file outside of ``docs/``, or beside a card.
LINK = re.compile(r"(\]\()((?:\.\./)?)([\w./-]+?)((?:#[\w-]*)?\))")


def on_files(files: Files, config: Any) -> Files:
    """Add the cards and their pictures."""
    for corpus in CARDS:
        for path in (REPOSITORY / corpus).rglob("*"):
            if path.name == "README.md" or path.suffix == ".png":
                name = path.relative_to(REPOSITORY).as_posix()
                place = str(REPOSITORY), config.site_dir, config.use_directory_urls
                files.append(File(name, *place))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Lead each link to the page of the site, or else to the file in the repository."""
    folder = Path(page.file.src_uri).parent
    here = REPOSITORY / folder if folder.name in CARDS else REPOSITORY / "docs" / folder
    known = set(files.src_uris)

    def lead(match: re.Match[str]) -> str:
        before, up, path, after = match.groups()
        target = (here / f"{up}{path}").resolve()
        if not target.exists() or REPOSITORY not in target.parents:
            return match[0]
        name = target.relative_to(REPOSITORY).as_posix()
        on_site = name.removeprefix("docs/")
        if on_site in known:
            depth = "../" * len(folder.parts)
            return f"{before}{depth}{on_site}{after}"
        return f"{before}{config.repo_url}/blob/main/{name}{after}"

    text = re.sub(r"\A---\n.*?\n---\n", "", markdown, flags=re.S)  # the card's YAML
    return LINK.sub(lead, text)
