"""Synthetic wingert2026 releases."""
