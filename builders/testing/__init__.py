"""The contract that every corpus keeps, as tests: ``pytest --pyargs builders.testing``.

``--corpus NAME``, once or more often, names the corpora; all that are installed by default. Each
corpus writes its synthetic release, which is then loaded, compared and exported as users do it.
"""
