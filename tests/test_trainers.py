"""What a trainer types first: loaders, Trainer, accelerate, Lightning; going on after a stop."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import lightning
import pytest
import torch
from accelerate import Accelerator
from datasets import concatenate_datasets, load_dataset
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torchdata.stateful_dataloader import StatefulDataLoader
from transformers import Trainer, TrainingArguments

from builders.errors import CorpusError
from builders.population import Population
from builders.stimuli import with_stimuli
from builders.training import collate

SITES = {"wingert2026": "CLT027c", "nat4": "TNC008a", "espejo2019": "AMT003c"}
BANDS = {"wingert2026": 32, "nat4": 18, "espejo2019": 18}
KINDS = ["mapped", "streamed", "population"]
FORMATS = [None, "numpy", "torch", "arrow"]


def records(corpus: str, split: str = "est", streaming: bool = False) -> Any:
    return load_dataset(f"./{corpus}", SITES[corpus], split=split, streaming=streaming)


def training_data(corpus: str, kind: str, form: str | None = "torch") -> Any:
    stimuli = load_dataset(f"./{corpus}", "stimuli", split="est")
    if kind == "population":
        return Population(records(corpus), stimuli)
    return with_stimuli(records(corpus, streaming=kind == "streamed").with_format(form), stimuli)


def length(corpus: str, kind: str) -> int:
    found = records(corpus)
    return len(set(found["stim_id"])) if kind == "population" else len(found)


class Model(nn.Module):
    """A rate for all cells; `seen` counts the items that came by."""

    def __init__(self, corpus: str) -> None:
        super().__init__()
        self.filters = nn.Conv1d(BANDS[corpus], 1, 3, padding=1)
        self.seen = 0

    def forward(
        self, spectrogram: Tensor, response: Tensor, mask: Tensor, stimulus_mask: Tensor
    ) -> dict[str, Tensor]:
        self.seen += len(spectrogram)
        rate = nn.functional.softplus(self.filters(spectrogram))
        while rate.ndim < response.ndim:
            rate, stimulus_mask = rate[:, None], stimulus_mask[:, None]
        counted = mask & stimulus_mask.reshape(len(mask), *[1] * (mask.ndim - 2), -1)
        rate = rate.expand_as(response)[counted]
        loss = nn.functional.poisson_nll_loss(rate, response[counted], log_input=False)
        return {"loss": loss}


def tensors(batch: dict[str, Any]) -> dict[str, Tensor]:
    return {name: value for name, value in batch.items() if isinstance(value, Tensor)}


# -- torch -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("split", ["est", "val"])
@pytest.mark.parametrize("form", [None, "numpy", "torch"])
def test_a_loader_makes_batches_without_our_help_where_shapes_agree(
    home: Path, corpus: str, form: str | None, split: str
) -> None:
    of_site = records(corpus, split).select(
        range(16)
    )  # of Python lists it makes tensors bin by bin
    loader = DataLoader(of_site.with_format(form), batch_size=8)
    assert sum(len(batch["cell_id"]) for batch in loader) == len(of_site)
    if form == "torch":
        first = next(iter(loader))
        assert first["response"].shape == (8, *of_site.with_format("torch")[0]["response"].shape)
        assert first["onsets"].dtype == torch.float32
        assert set(first["probe"]) == {""}


def test_onsets_keep_their_precision_as_the_cards_say(home: Path) -> None:
    site = records("wingert2026")
    stored = [row["onsets"] for row in site]
    assert [row["onsets"].tolist() for row in site.with_format("numpy", dtype="float64")] == stored
    rounded = [row["onsets"] for row in site.with_format("torch")]
    assert {each.dtype for each in rounded} == {torch.float32}
    assert all(
        abs(one - other) < 0.25e-3
        for row, of in zip(rounded, stored, strict=True)
        for one, other in zip(row.tolist(), of, strict=True)
    )


@pytest.mark.parametrize("form", [None, "numpy", "torch"])
def test_a_shuffled_loader_mixes_subsets_and_corpora(home: Path, form: str | None) -> None:
    """Whichever row comes first."""
    parts = [records(corpus, split) for corpus in SITES for split in ("est", "val")]
    shared = [name for name in parts[0].column_names if all(name in p.features for p in parts)]
    both = concatenate_datasets([part.select_columns(shared) for part in parts])
    loader = DataLoader(both.with_format(form), batch_size=32, shuffle=True, collate_fn=collate)
    found = Counter(
        id for batch in loader for id in zip(batch["stim_id"], batch["cell_id"], strict=True)
    )
    assert found == Counter(zip(both["stim_id"], both["cell_id"], strict=True))


@pytest.mark.parametrize("n_workers", [0, 2])
@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("kind", ["mapped", "streamed"])
def test_an_epoch_has_every_record_once(
    home: Path, kind: str, form: str | None, n_workers: int
) -> None:
    data = training_data("wingert2026", kind, form)
    data = data.shuffle(seed=1) if kind == "streamed" else data
    loader = DataLoader(
        data, 8, collate_fn=collate, num_workers=n_workers, shuffle=kind == "mapped"
    )
    batches = list(loader)
    of_site = records("wingert2026")
    found = [id for batch in batches for id in zip(batch["stim_id"], batch["cell_id"], strict=True)]
    expected = list(zip(of_site["stim_id"], of_site["cell_id"], strict=True))
    assert found != expected
    assert sorted(found) == sorted(expected)
    assert list(batches[0])[:4] == ["response", "mask", "spectrogram", "stimulus_mask"]


# -- trainers --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_trainer_of_transformers(home: Path, tmp_path: Path, corpus: str, kind: str) -> None:
    """With its own defaults: it takes the columns away that `forward` does not name."""
    model = Model(corpus)
    n_items = length(corpus, kind)
    arguments = TrainingArguments(
        str(tmp_path), max_steps=-(-n_items // 8), per_device_train_batch_size=8,
        report_to=[], use_cpu=True, disable_tqdm=True, save_strategy="no",
    )  # fmt: skip
    data = training_data(corpus, kind)
    trainer = Trainer(model, arguments, data_collator=collate, train_dataset=data)
    assert trainer.train().training_loss > 0
    assert model.seen == n_items


def test_collate_says_what_to_tell_a_trainer_that_takes_the_response_away(
    home: Path, tmp_path: Path
) -> None:
    class Blind(nn.Module):
        def forward(self, spectrogram: Tensor) -> None:
            raise AssertionError

    arguments = TrainingArguments(
        str(tmp_path), max_steps=1, report_to=[], use_cpu=True, disable_tqdm=True
    )
    data = training_data("nat4", "mapped")
    trainer = Trainer(Blind(), arguments, data_collator=collate, train_dataset=data)
    with pytest.raises(CorpusError, match="remove_unused_columns=False"):
        trainer.train()
    trainer = Trainer(
        Blind(), arguments, data_collator=collate, train_dataset=data.with_format("arrow")
    )
    with pytest.raises(CorpusError, match="remove_unused_columns=False"):
        trainer.train()


@pytest.mark.parametrize("kind", KINDS)
def test_accelerate(home: Path, corpus: str, kind: str) -> None:
    accelerator = Accelerator(cpu=True)
    data = training_data(corpus, kind)
    model, loader = accelerator.prepare(Model(corpus), DataLoader(data, 8, collate_fn=collate))
    optimizer = accelerator.prepare(torch.optim.Adam(model.parameters()))
    for batch in loader:
        accelerator.backward(model(**tensors(batch))["loss"])
        optimizer.step()
        optimizer.zero_grad()
    assert model.seen == length(corpus, kind)


class Module(lightning.LightningModule):
    def __init__(self, corpus: str) -> None:
        super().__init__()
        self.model = Model(corpus)

    def training_step(self, batch: dict[str, Any], _: int) -> Tensor:
        loss: Tensor = self.model(**tensors(batch))["loss"]
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters())


@pytest.mark.parametrize("kind", KINDS)
def test_lightning(home: Path, tmp_path: Path, corpus: str, kind: str) -> None:
    module = Module(corpus)
    trainer = lightning.Trainer(
        max_epochs=1, accelerator="cpu", logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, default_root_dir=tmp_path,
    )  # fmt: skip
    loader = DataLoader(training_data(corpus, kind), 8, collate_fn=collate)
    trainer.fit(module, loader)
    assert module.model.seen == length(corpus, kind)


# -- going on --------------------------------------------------------------------------------------


def ids(batches: Iterable[dict[str, Any]]) -> list[list[tuple[str, str]]]:
    return [list(zip(batch["stim_id"], batch["cell_id"], strict=True)) for batch in batches]


@pytest.mark.parametrize("n_workers", [0, 2])
@pytest.mark.parametrize("kind", ["shuffled", "streamed"])
def test_a_stateful_loader_goes_on_where_it_stopped(home: Path, kind: str, n_workers: int) -> None:
    """Exactly: mapped and shuffled, and streamed in order. Not a shuffled stream, see the docs."""

    def loader() -> Any:
        torch.manual_seed(5)
        data = training_data("wingert2026", "streamed" if kind == "streamed" else "mapped")
        return StatefulDataLoader(
            data, 8, collate_fn=collate, num_workers=n_workers, shuffle=kind == "shuffled"
        )

    every = ids(loader())
    stopped = loader()
    batches = iter(stopped)
    begun = ids(next(batches) for _ in range(5))
    state = stopped.state_dict()
    again = loader()
    again.load_state_dict(state)
    assert begun + ids(again) == every
    assert sorted(id for batch in every for id in batch) == sorted(
        zip(records("wingert2026")["stim_id"], records("wingert2026")["cell_id"], strict=True)
    )
