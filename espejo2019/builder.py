"""The corpus espejo2019: its configs and its release.

Lopez Espejo, Schwartz, David, PLoS Comput Biol 2019, doi:10.1371/journal.pcbi.1007430: single units
of ferret A1 listening to natural sounds (NAT) and to vocalisation-modulated noise (VMN).

The release has no cell list: cells are those in the archives. Its licence, the md5 of its files and
the length of its sounds are not known here, and nothing depends on them.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from builders import conventions
from builders.corpus.builder import Scale
from builders.families.nems import NemsCorpus

if TYPE_CHECKING:
    from builders.synthetic.recordings import PlannedArchive
    from builders.validation.facts import Fact

#: Older cell ids name a channel by a letter, as in ``btn144a-c1``.
LETTERED = re.compile(r"(?P<session>(?P<animal>[A-Za-z]+)[^-]*)-[a-z](?P<unit>\d{1,9})")


class Espejo2019(NemsCorpus):
    """`Espejo2019("NAT")`; see `builders.corpus.builder.CorpusBuilder`."""

    corpus = "espejo2019"
    source = "https://doi.org/10.5281/zenodo.3445557"
    record = 3445557
    published: ClassVar = {"A1_natural_sounds.tgz": "", "A1_voc_mod_noise.tgz": ""}
    sets: ClassVar = {"NAT": "A1_natural_sounds", "VMN": "A1_voc_mod_noise"}
    bands: ClassVar = {"NAT": 18, "VMN": 2}  # of VMN: two envelopes
    area = "A1"
    splits_by = "count"
    joins = True  # 13 cells of "por" sites are in several archives of their site
    card: ClassVar = {
        "pretty_name": "Lopez Espejo 2019: ferret A1, natural sounds and modulated noise",
        "tags": ["neuroscience", "auditory-cortex", "electrophysiology", "spike-trains", "ferret"],
        "size_categories": ["10K<n<100K"],
    }
    DEFAULT_CONFIG_NAME = "NAT"

    @classmethod
    def parse_cell_id(cls, cell_id: str) -> dict[str, Any]:
        """As `builders.conventions.parse_cell_id`; a letter is no electrode number."""
        if match := LETTERED.fullmatch(cell_id):
            return {**match.groupdict(), "unit": int(match["unit"]), "probe": "", "electrode": None}
        return conventions.parse_cell_id(cell_id)

    @classmethod
    def facts(cls) -> list[Fact]:
        from espejo2019.validation.facts import facts

        return facts(cls)

    @classmethod
    def plan(cls, scale: Scale, seed: int) -> list[PlannedArchive]:
        from espejo2019.synthetic.plan import archives

        return archives(scale, seed)

    @classmethod
    def synthesize(cls, folder: Path, scale: Scale, seed: int, driven: bool = False) -> None:
        from builders.synthetic.recordings import pack_sets

        super().synthesize(folder, scale, seed, driven)
        pack_sets(folder, cls.sets)
