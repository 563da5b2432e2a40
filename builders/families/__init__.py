"""What corpora of one format share: the base classes of corpora."""
