"""Dataset builders for neural recordings of auditory cortex.

`load_dataset("./wingert2026", "A1")` needs no import of this package: `datasets` finds `corpus://`
by its entry point. For everything else, import from the modules of this package.
"""

from importlib import import_module

__version__ = "0.1.0"
#: Name and address that the user agent of HTTP requests contains.
NAME = "auditory-builders"
URL = "https://github.com/auditory-builders/auditory-builders"


def path(corpus: str) -> str:
    """The folder with a corpus' card: ``load_dataset(builders.path("wingert2026"), "A1")``.

    It works from anywhere, also where the package was installed without a clone.

    Raises
    ------
    CorpusError
        If there is no such corpus; the message lists the corpora.
    """
    # Not an import statement: all modules import this one, and it would make a circle.
    registry = import_module("builders.corpus.registry")
    return str(registry.card_path(registry.find_corpus(corpus)).parent)
