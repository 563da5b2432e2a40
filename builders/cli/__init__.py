"""The console script ``builders``."""

from builders.cli import data, looks, scores, sharing
from builders.cli.base import app, main

__all__ = ["app", "data", "looks", "main", "scores", "sharing"]
