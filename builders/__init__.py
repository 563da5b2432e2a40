"""Dataset builders for neural recordings of auditory cortex.

`load_dataset("./wingert2026", "A1")` needs nothing from here: `datasets` finds `corpus://` by its
entry point. Import from the modules below this package for everything else.
"""

__version__ = "0.1.0"
#: How we introduce ourselves to servers.
NAME = "auditory-builders"
URL = "https://github.com/auditory-builders/auditory-builders"
