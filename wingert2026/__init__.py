"""Wingert et al. 2026: ferret auditory cortex, natural sounds."""

from wingert2026.builder import Wingert2026

__all__ = ["Wingert2026"]
