"""Makes the rows of `waveforms`, the sounds as played, from a release's ``wav.zip``."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence

import pyarrow as pa
import soundfile
from datasets import Audio, Features, Value

from builders.conventions import SAMPLING_RATE, subset_of
from builders.nems.archive import reading, recording_error
from builders.release.archive import Archive
from builders.release.local import Release
from builders.shards.arrow import stored, table
from builders.shards.job import Job

#: Limit for a sound file, in bytes; a published one has 1.8 MB.
LARGEST_SOUND = 1 << 26

#: One row per sound. ``audio`` has the bytes of the published file; ``onset_ms`` is the time at
#: which the sound begins in the window of the stimulus. `datasets` decodes ``audio`` after a cast
#: to ``Audio()`` (needs torchcodec); `builders.stimuli.read_waveform` needs neither.
WAVEFORMS = Features(
    {
        "stim": Value("string"),
        "subset": Value("string"),
        "audio": Audio(sampling_rate=SAMPLING_RATE, decode=False),
        "onset_ms": Value("float64"),
    }
)

#: Maps a file's name, without ``.wav`` and in lower case, to the stimulus and its onset in ms.
Sounds = Callable[[str], tuple[str, float] | None]


def waveform_jobs(
    release: Release,
    parts: int,
    sounds: Callable[[], Sounds],
    others: Callable[[], Sequence[Archive]] = list,
) -> list[Job]:
    """One job per ``waveforms/<part>-of-<parts>.parquet``; each reads only its own sounds.

    Parameters
    ----------
    release : Release
        A release that holds ``wav.zip`` or the folder ``wav``.
    parts : int
        Number of shards; each should stay below 25 MB.
    sounds : callable
        Returns the mapping from file names to stimuli. Names on disk differ in letter case.
    others : callable
        The archives that `sounds` depends on.
    """
    return [_job(release, part, parts, sounds, others) for part in range(parts)]


def _job(
    release: Release,
    part: int,
    parts: int,
    sounds: Callable[[], Sounds],
    others: Callable[[], Sequence[Archive]],
) -> Job:
    path = f"waveforms/{part:05d}-of-{parts:05d}.parquet"

    def files() -> list[Archive]:
        every = release.archives("wav", ".wav")
        start, stop = (len(every) * i // parts for i in (part, part + 1))
        return every[start:stop]

    def rows() -> Iterator[pa.Table]:
        find, schema = sounds(), stored(WAVEFORMS)
        for file in files():
            found = find(file.name[: -len(".wav")].lower())
            content = _checked(file)
            if found:
                stim, onset_ms = found
                columns = {
                    "stim": [stim],
                    "subset": [subset_of(stim)],
                    "audio": [{"bytes": content, "path": file.name}],
                    "onset_ms": [onset_ms],
                }
                yield table(columns, schema)

    name = f"waveforms-{part}"
    return Job(
        name, (path,), WAVEFORMS, lambda: [*files(), *others()], str, lambda _: {path: rows()}
    )


def _checked(file: Archive) -> bytes:
    """A sound file's bytes; raises if it is unreadable or has another rate than declared."""
    with reading(file), file.open() as stream:
        content = stream.read(LARGEST_SOUND + 1)
    if len(content) > LARGEST_SOUND:
        raise recording_error(file, "the sound", f"it has more than {LARGEST_SOUND} bytes")
    try:
        rate = soundfile.info(io.BytesIO(content)).samplerate
    except soundfile.SoundFileError as error:
        raise recording_error(file, "the sound", error) from error
    if rate != SAMPLING_RATE:
        raise recording_error(file, "the sound", f"it has {rate} Hz, expected {SAMPLING_RATE}")
    return content
