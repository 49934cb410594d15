"""tools/probe_shapes.py on pages made here: its lengths are those of samples really built."""

import sys
from pathlib import Path

import pytest
from PIL import Image

import probe_shapes
from wdstream.batches.sample import build_sample
from wdstream.families.registry import load_family
from wdstream.make_shards import MakeShardsOptions, make_shards
from wdstream.nodes.decode import decode_page
from wdstream.nodes.tile import tile_page
from wdstream.plan.packer import Budget
from wdstream.shards.reader import Shards
from wdstream.testing import make_pages, make_tiny_model
from wdstream.tiling.labels import label_page
from wdstream.tiling.policy import TilingPolicy


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


def test_lengths_are_those_of_built_samples(shards: Path, model: Path) -> None:
    opened, family = Shards.open(shards), load_family(model)
    for policy in probe_shapes.POLICIES.values():
        tiling = policy.for_family(family)
        measured = probe_shapes.measure(opened, family, tiling, family.text_fingerprint)
        for row in range(len(opened)):
            page = decode_page(opened.read_page(row), max_pixels=10_000_000)
            sample = build_sample(label_page(tile_page(page, policy=tiling)), family)
            assert (measured.tokens[row], measured.patches[row]) == (sample.num_tokens, sample.num_patches)


def test_prints_a_row_for_each_policy_and_passes(
    shards: Path, model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["probe_shapes.py", str(shards), "--model", str(model)])
    assert probe_shapes.main() == 0
    printed = capsys.readouterr().out
    assert [name for name in probe_shapes.POLICIES if f"│ {name} " not in printed] == []
    assert "image tokens, adaptive / uncut: 1.000" in printed


@pytest.mark.parametrize("data", ["raw", "shards"])
def test_needs_no_model(
    shards: Path, data: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Raw pages are made into shards; shards have one token column."""
    monkeypatch.setattr(sys, "argv", ["probe_shapes.py", str(shards.with_name(data))])
    assert probe_shapes.main() == 0
    assert "5 samples, 5 images; qwen2_5_vl" in capsys.readouterr().out


def test_a_row_in_figures(tmp_path: Path, model: Path) -> None:
    """Three pages by hand: 280x560 is 10x20 units, 1120x1120 is 40x40 units in four tiles, 28x28 is enlarged to 2x2."""
    raw = tmp_path / "raw"
    raw.mkdir()
    for name, size in (("a", (280, 560)), ("b", (1120, 1120)), ("c", (28, 28))):
        Image.new("RGB", size, "white").save(raw / f"{name}.png")
        (raw / f"{name}.txt").write_text("word")
    options = MakeShardsOptions(workers=1, tokenizer=model)
    make_shards(raw, tmp_path / "shards", options=options)
    shards, family = Shards.open(tmp_path / "shards"), load_family(model)
    tiling = TilingPolicy(tile_labels=False).for_family(family)
    lengths = probe_shapes.measure(shards, family, tiling, family.text_fingerprint)
    word, newline = family.text_cost("word"), family.text_cost("\n")
    # Each tile has two marks around it, each page its text and EOS; tiles are joined by a newline.
    large = 1600 + 4 * 2 + 3 * newline
    assert lengths.tokens.tolist() == [cost + word + 1 for cost in (202, large, 6)]
    assert (lengths.patches.tolist(), lengths.image_tokens) == ([800, 6400, 16], 1804)
    row = probe_shapes.report_row(tiling, shards, lengths, Budget(tokens=1000, patches=2000))
    spread = "{} {} {} {} {}".format(6 + word + 1, 202 + word + 1, *[f"{large + word + 1:,}"] * 3)
    # tokens, patches, tiles per image, content, shapes, over-long, packs, fill of both budgets
    assert row[:7] == [spread, "16 800 6,400 6,400 6,400", "2.0", "100%", "3", "1", "1"]
    assert row[7:9] == [f"{(208 + 2 * word + 2) / 1000:.1%}", "40.8%"]
    fixed = TilingPolicy(kind="grid", grid=(1, 1), tile_size=560).for_family(family)
    shown = probe_shapes.content_share(shards, fixed)  # no page is enlarged, the large one is shrunk
    assert shown == pytest.approx((280 * 560 + 560 * 560 + 28 * 28) / (3 * 560 * 560))


def test_more_tokens_than_wanted_is_status_1(
    shards: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["probe_shapes.py", str(shards)])
    monkeypatch.setitem(probe_shapes.POLICIES, "adaptive", TilingPolicy(kind="grid"))
    assert probe_shapes.main() == 1
    assert "(wanted: at most 1.10)" in capsys.readouterr().out


def test_a_folder_without_an_index_is_an_error_with_status_2(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["probe_shapes.py", str(tmp_path), "--model", str(model)])
    assert probe_shapes.main() == 2
    assert "error:" in capsys.readouterr().out
