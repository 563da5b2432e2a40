"""Synthetic sessions of trials, for corpora of any format."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from builders.corpus.builder import Scale
from builders.shards.trials import Trials
from builders.synthetic.files import generator, new_release

if TYPE_CHECKING:
    from builders.families.trials import TrialCorpus

#: Sessions, cells of each, and stimuli, of each scale.
SIZES = {"mini": (3, 4, 10), "full": (30, 12, 100)}
DURATION = 1.5  # s


def sessions(
    corpus: type[TrialCorpus], folder: Path, scale: Scale, seed: int
) -> Iterator[tuple[str, list[Trials]]]:
    """Make the folders of a release; yield the name and the trials of each session.

    A tenth of the stimuli is presented 10 times, the others twice. In each session after the
    first, the last cell lacks the last stimulus, and each session leaves a stimulus out. A cell is
    silent. Spikes fall on the edges of bins, too, and past the end of a trial.
    """
    folder = new_release(folder, scale)
    for directory, _ in (corpus.files, corpus.sounds):
        (folder / directory).mkdir()
    n_sessions, n_cells, n_stimuli = SIZES[scale]
    for number in range(n_sessions):
        name = f"ABC{number + 1:03d}a"
        found = []
        for stimulus in range(n_stimuli):
            if number and stimulus == number:
                continue
            n_trials = 10 if stimulus % 10 == 9 else 2
            for cell in range(n_cells):
                if number and (cell, stimulus) == (n_cells - 1, n_stimuli - 1):
                    continue
                rng = generator(seed, name, str(stimulus), str(cell))
                counts = rng.poisson(0 if cell == 1 else 8, n_trials)
                spikes = [np.sort(rng.uniform(0, DURATION + 0.1, n)) for n in counts]
                if cell == 0:
                    spikes[0] = np.sort(np.append(spikes[0], [0.0, 0.07, 0.29, 1.11]))
                onsets = (np.arange(n_trials) * 3.0 + stimulus * 40).tolist()
                id_ = f"{name}-{cell + 1:02d}-1"
                found.append(Trials(id_, f"sound{stimulus:03d}", spikes, DURATION, onsets))
        yield name, found
