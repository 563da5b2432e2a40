"""Synthetic nat4 releases."""
