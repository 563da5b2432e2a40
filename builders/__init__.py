"""Dataset builders for neural recordings of auditory cortex.

`load_dataset("./wingert2026", "A1")` needs no import of this package: `datasets` finds `corpus://`
by its entry point. For everything else, import from the modules of this package.
"""

__version__ = "0.1.0"
#: Name and address that the user agent of HTTP requests contains.
NAME = "auditory-builders"
URL = "https://github.com/auditory-builders/auditory-builders"
