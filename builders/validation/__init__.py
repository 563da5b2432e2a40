"""Check a release against published facts, and its shards against a second, slow reader."""
