"""Lopez Espejo et al. 2019: ferret A1, natural sounds and vocalisation-modulated noise."""

from espejo2019.builder import Espejo2019

__all__ = ["Espejo2019"]
