"""Synthetic espejo2019 releases."""
