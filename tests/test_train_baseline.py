"""The baselines: what is planted comes back, streamed and mapped alike, and nothing from noise."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from builders.cli import app
from builders.encoders.fit import Fit
from builders.encoders.linear import LinearNonlinear
from builders.errors import CorpusError
from builders.preprocess import BandScaler
from builders.scoring import read_predictions
from builders.synthetic.filters import write_filters
from builders.synthetic.recordings import write_archive
from scripts.train_baseline import HELD_OUT, MODELS, load, main, recovery
from wingert2026 import Wingert2026
from wingert2026.synthetic.cells import write_cell_list
from wingert2026.synthetic.release import archives

pytestmark = pytest.mark.usefixtures("one_thread")
SESSIONS = ("CLT027c", "CLT028c")
N_CELLS = 6


@pytest.fixture(scope="module")
def driven_release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few cells of two sessions of the mini release, driven."""
    folder = tmp_path_factory.mktemp("driven")
    (folder / "recordings").mkdir()
    chosen = [
        replace(plan, cells=plan.cells[:N_CELLS], driven=True)
        for plan in archives("mini", 0)
        if plan.session in SESSIONS
    ]
    for plan in chosen:
        write_archive(folder / "recordings", plan, 0)
    write_cell_list(folder / "cell_list.csv", SESSIONS, 0)
    cells = [(cell, cell) for plan in chosen for cell in plan.cells]
    write_filters(folder / "filters.npz", 0, Wingert2026.bands[""], cells)
    return folder


@pytest.fixture
def driven(driven_release: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("WINGERT2026_DATA", str(driven_release))
    return driven_release


def run(folder: Path, *arguments: object) -> dict[str, Any]:
    main(["--device", "cpu", "--out", *map(str, [folder, *arguments])])
    results: dict[str, Any] = json.loads((folder / "results.json").read_text())
    return results


def test_what_is_planted_is_predicted(driven: Path, tmp_path: Path) -> None:
    """Also the command line: predictions beside the bound."""
    filters = driven / "filters.npz"
    results = run(tmp_path, "--models", "linear", "cnn", "--epochs", 10, "--filters", filters)
    assert np.median(results["models"]["linear"]["filter_recovery"]) > 0.8
    for name, scores in results["models"].items():
        assert ("filter_recovery" in scores) == (name == "linear")
        assert min(scores["losses"]["held_out"]) < scores["losses"]["held_out"][0]
        path = tmp_path / f"{name}.parquet"
        found = CliRunner().invoke(app, ["score", "wingert2026", "CLT028c", str(path), "--json"])
        assert found.exit_code == 0, found.output
        report = json.loads(found.output)
        (summary,), (bound,) = (
            [row for row in report[part] if row["cells"] == "all"] for part in ("summary", "bound")
        )
        assert bound["normalized_correlation"]["mean"] == pytest.approx(1, abs=0.05)
        for key in ("correlation", "normalized_correlation"):
            assert 0.8 * bound[key]["mean"] < summary[key]["mean"] < 1.01 * bound[key]["mean"]
            assert summary[key]["mean"] == pytest.approx(np.mean(scores[key]))


def test_nothing_is_recovered_from_shuffled_responses(driven: Path) -> None:
    data, stimuli = load("wingert2026", "CLT028c")
    items = list(data["fitted"])

    class Shuffled(list[Any]):
        cells = data["fitted"].cells

    shuffled: Any = Shuffled(
        {**item, "response": other["response"], "mask": other["mask"]}
        for item, other in zip(items, items[1:] + items[:1], strict=True)
    )
    cells, scaler = data["fitted"].cells["cell_id"].to_pylist(), BandScaler.fit(stimuli)
    model = LinearNonlinear(Wingert2026.bands[""], N_CELLS)
    Fit(model, cells, scaler).fit(shuffled, shuffled, 10, 0.01)
    assert abs(np.median(recovery(model, cells, scaler, driven / "filters.npz"))) < 0.3


def test_streamed_training_is_as_good_as_mapped(driven: Path, tmp_path: Path) -> None:
    arguments = ["--models", "linear", "--epochs", 10]
    mapped, streamed = (
        run(tmp_path, "wingert2026", "CLT028c", *arguments, *style)["models"]["linear"]
        for style in ([], ["--streaming"])
    )
    assert np.mean(streamed["correlation"]) == pytest.approx(
        np.mean(mapped["correlation"]), abs=0.03
    )
    assert streamed["losses"] != mapped["losses"]  # the order is another one


@pytest.mark.parametrize("style", [[], ["--streaming"]])
def test_the_same_seed_gives_the_same_fit(home: Path, tmp_path: Path, style: list[str]) -> None:
    arguments = ["nat4", "A1", "--models", "gru", "--cells", 4, "--epochs", 2, *style]
    first, again = (run(tmp_path / n, *arguments)["models"]["gru"] for n in ("1", "2"))
    assert first["losses"] == again["losses"]
    assert first["correlation"] == again["correlation"]
    other = run(tmp_path, *arguments, "--seed", 1)["models"]["gru"]
    assert other["losses"] != first["losses"]
    assert len(first["losses"]["fitted"]) == 2
    assert len(set(read_predictions(tmp_path / "1/gru.parquet")["cell_id"].to_pylist())) == 4


def test_a_tenth_of_the_stimuli_is_held_out(driven: Path) -> None:
    heard = {}
    for streaming in (False, True):
        data, _ = load("wingert2026", "CLT028c", streaming)
        fitted, held_out = (
            {item["stim_id"] for item in data[part]} for part in ("fitted", "held_out")
        )
        assert not fitted & held_out
        assert len(held_out) == max(1, round(HELD_OUT * len(fitted | held_out)))
        assert not set(data["val"]["stim_id"]) & (fitted | held_out)
        heard[streaming] = held_out
    assert heard[False] == heard[True]
    other, _ = load("wingert2026", "CLT028c", seed=1)
    assert {item["stim_id"] for item in other["held_out"]} != heard[False]


def test_all_of_nat4(home: Path, tmp_path: Path) -> None:
    """Cells without validation data are fitted, and have no score."""
    results = run(tmp_path, "nat4", "A1", "--epochs", 2)
    assert results["models"].keys() == MODELS.keys()
    for name, found in results["models"].items():
        assert len(found["correlation"]) == 38  # of 40, two have no val records
        assert sum(value is None for value in found["correlation"]) == 1  # a silent one
        assert found["losses"]["fitted"][1] < found["losses"]["fitted"][0], name


def test_filters_of_another_release(tmp_path: Path) -> None:
    write_filters(tmp_path / "filters.npz", 0, 18, [("TNC008a-01-1", "TNC008a-01-1")])
    scaler = BandScaler((0.0,) * 18, (1.0,) * 18)
    with pytest.raises(CorpusError, match="none of the cells CLT027c-007-1"):
        recovery(LinearNonlinear(18, 1), ["CLT027c-007-1"], scaler, tmp_path / "filters.npz")


def test_what_cannot_be_trained_on(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(CorpusError, match="its splits are cells"):
        main(["wingert2026", "cells"])
    with pytest.raises(SystemExit):
        main(["--cells", "0"])
    assert "0 is not above 0" in capsys.readouterr().err
