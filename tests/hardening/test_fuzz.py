"""What is fuzzed: `make fuzz` begins with these inputs."""

from __future__ import annotations

from pathlib import Path

from fuzz import seeds
from fuzz.targets import TARGETS
from tests.archives import pack
from tests.hardening.faults import read
from tests.shards.test_cells import read as read_cell_list


def test_the_seeds_of_the_fuzz_targets_are_read(tmp_path: Path) -> None:
    """Each target goes through its seeds, and what they are made of is sound."""
    seeds.write(tmp_path)
    for name, target in TARGETS.items():
        contents = [path.read_bytes() for path in (tmp_path / name).iterdir()]
        assert len(contents) >= 4
        for content in [*contents, b"", b"\0", b"\1"]:
            target(content)
    found = read(pack(tmp_path, seeds.recording()))
    assert found["bins"] == {cell: [1, 25] for cell in seeds.CELLS}
    assert [name for name, _ in found["tiles"]] == ["STIM_a.wav"]
    assert len(read_cell_list(tmp_path / "cell_list" / "list")) == 3
