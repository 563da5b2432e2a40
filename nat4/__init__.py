"""Pennington & David 2023: ferret auditory cortex, 1 s natural sounds."""

from nat4.builder import Nat4

__all__ = ["Nat4"]
