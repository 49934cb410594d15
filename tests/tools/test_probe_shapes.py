"""tools/probe_shapes.py on pages made here: its lengths are those of samples really built."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

from wdstream.batches.sample import build_sample
from wdstream.families.registry import load_family
from wdstream.make_shards import MakeShardsOptions, make_shards
from wdstream.nodes.decode import decode_page
from wdstream.nodes.tile import tile_page
from wdstream.pages.label import label_page
from wdstream.shards.shards import Shards
from wdstream.testing import make_pages, make_tiny_model


@pytest.fixture(scope="module")
def probe() -> ModuleType:
    path = Path(__file__).parents[2] / "tools" / "probe_shapes.py"
    spec = importlib.util.spec_from_file_location("probe_shapes", path)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules["probe_shapes"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("model"), vocab_size=4096)


@pytest.fixture(scope="module")
def shards(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    make_shards(
        make_pages(folder / "raw", num_pages=5),
        folder / "shards",
        options=MakeShardsOptions(workers=1, tokenizer=model),
    )
    return folder / "shards"


def test_lengths_are_those_of_built_samples(probe: ModuleType, shards: Path, model: Path) -> None:
    opened, family = Shards.open(shards), load_family(model)
    for policy in probe.POLICIES.values():
        tiling = policy.for_family(family)
        measured = probe.measure(opened, family, tiling)
        for row in range(len(opened)):
            page = decode_page(opened.read_page(row), max_pixels=10_000_000)
            sample = build_sample(label_page(tile_page(page, policy=tiling)), family)
            assert (measured.tokens[row], measured.patches[row]) == (sample.num_tokens, sample.num_patches)


def test_prints_a_row_for_each_policy_and_passes(
    probe: ModuleType, shards: Path, model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["probe_shapes.py", str(shards), "--model", str(model)])
    assert probe.main() == 0
    printed = capsys.readouterr().out
    assert [name for name in probe.POLICIES if f"│ {name} " not in printed] == []
    assert "image tokens, adaptive / uncut: 1.000" in printed


def test_a_folder_without_an_index_is_an_error_with_status_2(
    probe: ModuleType, tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["probe_shapes.py", str(tmp_path), "--model", str(model)])
    assert probe.main() == 2
    assert "error:" in capsys.readouterr().out
