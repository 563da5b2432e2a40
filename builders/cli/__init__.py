"""The console script ``builders``."""

from builders.cli import data, looks, sharing
from builders.cli.base import app, main

__all__ = ["app", "data", "looks", "main", "sharing"]
