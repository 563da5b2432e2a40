"""Whether a release is what was published, and shards what a second reader says."""
