"""The sounds of both corpora: their names, their bytes, and where in the window they begin."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from datasets import Audio, Dataset, load_dataset
from numpy.typing import NDArray

from builders.conventions import SAMPLING_RATE
from builders.shards.waveforms import LARGEST_SOUND
from builders.stimuli import align_waveform, read_waveform
from tests.releases import change_member, copy_release, refused


def wav(samples: NDArray[np.int16], rate: int = SAMPLING_RATE) -> bytes:
    content = io.BytesIO()
    soundfile.write(content, samples, rate, format="WAV", subtype="PCM_16")
    return content.getvalue()


def noise(seed: int, n: int = SAMPLING_RATE // 10) -> NDArray[np.int16]:
    return np.random.default_rng(seed).integers(-(2**15), 2**15, n).astype(np.int16)


@pytest.fixture(params=["nat4", "wingert2026"])
def corpus(request: pytest.FixtureRequest) -> str:
    """The corpora whose releases have sounds."""
    return str(request.param)


def stimuli_of(corpus: str) -> list[str]:
    """Two of the corpus' stimuli, of both subsets."""
    if corpus == "wingert2026":
        return ["STIM_00seq1.wav", "STIM_seq0091.wav"]
    splits = load_dataset("./nat4", "stimuli")
    return [splits["val"]["stim"][0], splits["est"]["stim"][0]]


@pytest.fixture
def release(
    corpus: str,
    releases: Callable[[str], Path],
    own_home: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Path:
    """A release whose ``wav.zip`` holds two sounds, one in capitals, and one of no stimulus."""
    folder = copy_release(releases(corpus), own_home / "release")
    (folder / "wav.zip").unlink(missing_ok=True)
    monkeypatch.setenv(f"{corpus.upper()}_DATA", str(folder))
    first, second = (stim.removeprefix("STIM_") for stim in stimuli_of(corpus))
    if corpus == "nat4":
        first = first.removesuffix(".wav").swapcase() + ".wav"
    sounds = {first: wav(noise(1)), second: wav(noise(2))}
    if corpus == "nat4":
        sounds["played_to_nobody.wav"] = wav(noise(3))
    with zipfile.ZipFile(folder / "wav.zip", "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in sounds.items():
            file.writestr(f"wav/{name}", content)
    return folder


def load(corpus: str, **options: object) -> Dataset:
    return load_dataset(f"./{corpus}", "waveforms", split="waveforms", **options)


def test_sounds_are_the_published_bytes(corpus: str, release: Path) -> None:
    sounds = load(corpus)
    assert sounds["stim"] == stimuli_of(corpus)
    assert sounds["subset"] == ["val", "est"]
    assert [each["bytes"] for each in sounds["audio"]] == [wav(noise(1)), wav(noise(2))]
    assert sounds.features["audio"] == Audio(sampling_rate=44_100, decode=False)
    onset = {"wingert2026": 1000.0, "nat4": 250.0}[corpus]
    assert sounds["onset_ms"] == [onset] * 2


def test_a_sound_is_read_and_aligned(corpus: str, release: Path) -> None:
    row = next(iter(load(corpus, streaming=True)))
    samples, rate = read_waveform(row["audio"])
    assert rate == 44_100
    assert samples.dtype == np.float32
    assert np.array_equal(samples, noise(1).astype(np.float32) / 2**15)
    window = align_waveform(samples, row["onset_ms"], n_bins=150)
    assert window.shape == (150 * 441,)
    start = round(row["onset_ms"] * 44.1)
    inside = window[start : start + len(samples)]
    assert np.array_equal(inside, samples[: len(inside)])
    assert not window[:start].any()
    assert not window[start + len(samples) :].any()


def test_an_unpacked_folder_is_as_good(corpus: str, release: Path) -> None:
    packed = load(corpus).to_list()
    with zipfile.ZipFile(release / "wav.zip") as file:
        file.extractall(release)
    (release / "wav.zip").unlink()
    assert load(corpus).to_list() == packed


def test_without_sounds_the_error_names_them(corpus: str, release: Path) -> None:
    (release / "wav.zip").unlink()
    refused(corpus, "waveforms", "has no wav", "wav.zip")


@pytest.mark.parametrize(
    ("content", "why"),
    [(b"RIFF", "wav"), (wav(noise(1), 48_000), "it has 48000 Hz, expected 44100")],
)
def test_a_sound_that_is_none(corpus: str, release: Path, content: bytes, why: str) -> None:
    name = stimuli_of(corpus)[0].removeprefix("STIM_")
    with zipfile.ZipFile(release / "wav.zip", "w") as file:
        file.writestr(f"wav/{name}", content)
    refused(corpus, "waveforms", name, why)


def test_a_sound_that_would_fill_the_memory(corpus: str, release: Path) -> None:
    name = stimuli_of(corpus)[0].removeprefix("STIM_")
    with zipfile.ZipFile(release / "wav.zip", "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr(f"wav/{name}", b"\0" * (LARGEST_SOUND + 1))
    refused(corpus, "waveforms", name, f"more than {LARGEST_SOUND} bytes")


def test_nat4_onsets_are_those_of_the_epochs(
    releases: Callable[[str], Path], own_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = copy_release(releases("nat4"), own_home / "release")
    (folder / "wav.zip").unlink(missing_ok=True)
    monkeypatch.setenv("NAT4_DATA", str(folder))
    stim = stimuli_of("nat4")[0]

    def later(content: bytes) -> bytes:
        """The silence before this one sound takes half a second; before the others nobody says."""
        lines = content.decode().splitlines()
        start = next(
            each.split(",")[lines[0].split(",").index("start")] for each in lines if stim in each
        )
        kept = [line for line in lines if "PreStimSilence" not in line]
        row = {"name": "PreStimSilence", "start": start, "end": str(float(start) + 0.5)}
        return "\n".join([*kept, ",".join(row[name] for name in lines[0].split(","))]).encode()

    for area in ("A1", "PEG"):
        change_member(folder / f"{area}_NAT4_ozgf.fs100.ch18.tgz", "stim.epoch.csv", later)
    with zipfile.ZipFile(folder / "wav.zip", "w") as file:
        for each in stimuli_of("nat4"):
            file.writestr(f"wav/{each.removeprefix('STIM_')}", wav(noise(1)))
    assert load("nat4")["onset_ms"] == [500.0, 250.0]
