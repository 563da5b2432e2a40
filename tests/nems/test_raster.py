"""The text of a rasterized signal: counts and other numbers, however they are mixed."""

from __future__ import annotations

import io
import time
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from builders.nems import raster
from builders.nems.raster import ZERO, Raster
from tests.archives import raster_csv

COUNTS = st.integers(0, 12).map(float)
NUMBERS = COUNTS | st.sampled_from([0.05, 0.5, -1.0, 1e10, np.nan, np.inf, -np.inf])


def values(text: bytes) -> raster.Values:
    return np.concatenate(list(Raster(io.BytesIO(text)).blocks()), axis=1)


@st.composite
def rasters(draw: st.DrawFn) -> NDArray[np.float64]:
    """(C, T) with bins of counts alone and bins of anything."""
    width = draw(st.integers(1, 4))
    bins = st.lists(COUNTS, min_size=width, max_size=width) | st.lists(
        NUMBERS, min_size=width, max_size=width
    )
    return np.array(draw(st.lists(bins, min_size=1, max_size=30))).T


@given(rasters(), st.integers(1, 400), st.integers(1, 400))
@settings(max_examples=300, deadline=None)
def test_values_are_those_of_the_text(
    expected: NDArray[np.float64], block: int, numbers_block: int
) -> None:
    with patch.multiple(raster, RASTER_BLOCK=block, NUMBERS_BLOCK=numbers_block):
        found = values(raster_csv(expected))
    assert found.dtype == np.float32 or (found.dtype == np.uint8 and found.max() < 10)
    slow = np.loadtxt(io.BytesIO(raster_csv(expected)), delimiter=",", ndmin=2).T
    np.testing.assert_array_equal(found, slow.astype(np.float32))


def test_a_zero_is_printed_as_the_writer_does() -> None:
    assert raster_csv(np.zeros((1, 1))) == ZERO + b"\n"


@pytest.mark.parametrize("digit", range(10))
def test_each_count_below_ten_is_itself(digit: int) -> None:
    assert values(raster_csv(np.full((3, 5), digit))).tolist() == [[digit] * 5] * 3


@pytest.mark.parametrize("at", range(len(ZERO) + 1))
def test_no_byte_of_the_grid_is_taken_on_trust(at: int) -> None:
    """Whatever is changed in one number, it is read as Python reads it, or refused."""
    line = bytearray(b",".join([ZERO] * 3) + b"\n")
    start = len(ZERO) + 1
    for byte in b"0123456789.+-eE,: x\n":
        changed = bytes(line[: start + at] + bytes([byte]) + line[start + at + 1 :])
        text = b",".join([ZERO] * 3) + b"\n" + changed
        try:
            rows = text.removesuffix(b"\n").split(b"\n")
            expected = [[float(each) for each in row.split(b",")] for row in rows]
            slow = np.array(expected, np.float32).T
        except ValueError:
            with pytest.raises(ValueError):  # noqa: PT011 - its text is pyarrow's
                values(text)
        else:
            np.testing.assert_array_equal(values(text), slow)


def test_a_text_that_is_refused_is_not_read_further() -> None:
    """Whoever catches the error may close the file at once."""

    class Text(io.BytesIO):
        n_read = 0

        def read(self, size: int | None = -1) -> bytes:
            self.n_read += 1
            time.sleep(0.01)
            return super().read(size)

    text = Text(raster_csv(np.zeros((2, 1))) + b"nonsense\n" * 1000)
    with patch.object(raster, "RASTER_BLOCK", 100), patch.object(raster, "NUMBERS_BLOCK", 1):
        with pytest.raises(ValueError):  # noqa: PT011 - its text is pyarrow's
            Raster(text)
        n_read = text.n_read
        time.sleep(0.1)
        assert text.n_read == n_read < 10
