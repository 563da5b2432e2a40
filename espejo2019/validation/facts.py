"""Published facts about espejo2019, and how to measure them in a release."""

from __future__ import annotations

from functools import partial

from builders.conventions import RESPONSE
from builders.families.nems import NemsCorpus
from builders.nems.recording import read_signals
from builders.release.local import Release
from builders.validation.facts import Fact, declare

# Said by the documentation of an earlier loader (deepSTRF 0.1.0), whose authors had the data; not
# checked against the release by us.
SOURCE = "documentation of deepSTRF 0.1.0; doi:10.5281/zenodo.3445557"


def count_set(corpus: type[NemsCorpus], release: Release, name: str) -> dict[str, object]:
    """Count the sites and cells of a set; opens all its archives."""
    archives = release.archives(corpus.sets[name])
    responses = [read_signals(each, [RESPONSE])[RESPONSE] for each in archives]
    rasterized = {
        corpus.session_of(each.archive) for each in responses if each.kind != "PointProcess"
    }
    return {
        f"sites of {name}": len({corpus.session_of(each) for each in archives}),
        f"cells of {name}": len({cell for each in responses for cell in each.cells}),
        f"sites of {name} with counts instead of spike times": ", ".join(sorted(rasterized)),
    }


def facts(corpus: type[NemsCorpus]) -> list[Fact]:
    """The published facts, each with its source."""
    return [
        *declare(
            "A1_natural_sounds.tgz",
            partial(count_set, corpus, name="NAT"),
            SOURCE,
            {"sites of NAT": 35, "cells of NAT": 540},
        ),
        *declare(
            "A1_voc_mod_noise.tgz",
            partial(count_set, corpus, name="VMN"),
            SOURCE,
            {
                "sites of VMN": 103,
                "cells of VMN": 200,
                "sites of VMN with counts instead of spike times": "chn002h, eno023c, eno028f",
            },
        ),
    ]
