"""``corpus://``: a corpus as a dataset repository, its card and its notes."""
