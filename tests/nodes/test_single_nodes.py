"""The single nodes in a row, over samples that another project's loader gives: nothing of ours but the nodes.

Spans: nodes, families.
"""

import gc
import io
import warnings
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
import torchdata.nodes as td
import webdataset
from PIL import Image

from tests.helpers.paths import PAGES
from wdstream.batches.batch import Batch
from wdstream.errors import DecodeError, RowError, UnfitError
from wdstream.families.base import Family
from wdstream.families.shared.chat import render_chat
from wdstream.nodes.as_page import as_page
from wdstream.nodes.collate import Collate
from wdstream.nodes.decode import Decode
from wdstream.nodes.items import Items
from wdstream.nodes.label import EstimateLength, Label
from wdstream.nodes.mapper import Map
from wdstream.nodes.node import Node
from wdstream.nodes.pack import Pack
from wdstream.nodes.shuffle import Shuffle
from wdstream.nodes.tile import Tile
from wdstream.records import DecodedPage, ImageSegment, LabelledPage, Sample, TextSegment
from wdstream.testing import assert_resumes_exactly, make_pages
from wdstream.tiling.policy import TilingPolicy

GRID = TilingPolicy(kind="grid", grid=(2, 1), tile_size=112, overview_size=56)
LENGTH, PATCHES = 700, 700


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What `webdataset` gives for a tar it wrote itself, with one bad page in it."""
    folder = make_pages(tmp_path_factory.mktemp("raw"), num_pages=7)
    tar = str(folder / "foreign.tar")
    with webdataset.TarWriter(tar) as writer:
        for number, path in enumerate(sorted(folder.glob("*.jpg"))):
            data = b"no image" if number == 3 else path.read_bytes()
            writer.write({"__key__": path.stem, "jpg": data, "txt": path.with_suffix(".txt").read_text()[:200]})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # webdataset leaves the tar to be closed by the collector
        rows = list(webdataset.WebDataset(tar, shardshuffle=False))
        gc.collect()
    return rows


def samples_of(source: Node[Any], family: Family, *, workers: int = 0) -> Node[Sample]:
    decoded = Decode(source, workers=workers, on_error="skip")
    return EstimateLength(Label(Tile(decoded, policy=GRID)), family=family)


def test_each_node_gives_its_record(rows: list[dict[str, Any]], family: Family) -> None:
    decoded = next(Decode(Items(rows)))
    assert isinstance(decoded, DecodedPage)
    assert (decoded.key, decoded.images[0].shape) == ("page-00000", (877, 620, 3))
    tiled = next(Tile(Items([decoded]), policy=GRID))
    assert [tile.shape for tile in tiled.tiles[0]] == [(56, 56, 3), (112, 112, 3), (112, 112, 3)]
    labelled = next(Label(Items([tiled])))
    assert isinstance(labelled, LabelledPage)
    assert labelled.segments[:4] == (
        TextSegment(text="<global_img>", is_supervised=False),
        ImageSegment(index=0),
        TextSegment(text="\n<row0_col0>", is_supervised=False),
        ImageSegment(index=1),
    )
    sample = next(EstimateLength(Items([labelled]), family=family))
    assert sample.num_patches == 16 + 64 + 64
    assert sample.num_tokens == len(sample.input_ids) == len(sample.labels)


@pytest.mark.parametrize("workers", [0, 2])
def test_the_row_of_nodes_resumes_at_every_batch(rows: list[dict[str, Any]], family: Family, workers: int) -> None:
    def graph(threads: int) -> Node[Batch]:
        samples = samples_of(Shuffle(Items(rows), buffer=4, seed=1), family, workers=threads)
        packs = Pack(samples, sequence_length=LENGTH, max_patches=PATCHES, pool=3)
        return Collate(packs, family=family)

    batches = assert_resumes_exactly(lambda: graph(workers), make_resumed=lambda: graph(2 - workers))
    keys = [key for batch in batches for row in batch["keys"] for key in row]
    assert sorted(keys) == [f"page-0000{number}" for number in (0, 1, 2, 4, 5, 6)]
    assert len(batches) < 6


def test_a_batch_is_what_the_functions_give(rows: list[dict[str, Any]], family: Family) -> None:
    samples = list(samples_of(Items(rows), family))
    batch = next(Collate(Items([samples[:2], samples[2:3]]), family=family, micro_batch_size=2))
    lengths = [sample.num_tokens for sample in samples[:3]]
    assert batch["lengths"] == [lengths[:2], lengths[2:]]
    assert batch["input_ids"].shape == (2, max(sum(lengths[:2]), lengths[2]))
    expected = np.concatenate([samples[0].input_ids, samples[1].input_ids])
    assert batch["input_ids"][0, : len(expected)].tolist() == expected.tolist()
    assert batch["pixel_values"].dtype == torch.uint8
    assert len(batch["pixel_values"]) == sum(sample.num_patches for sample in samples[:3])
    assert batch["keys"] == [["page-00000", "page-00001"], ["page-00002"]]
    assert "attention_mask" not in batch


def test_inside_a_graph_of_torchdata(rows: list[dict[str, Any]], family: Family) -> None:
    source = td.IterableWrapper(rows)
    packs = Pack(samples_of(source, family), sequence_length=LENGTH, max_patches=PATCHES)
    loader = td.Loader(td.Prefetcher(Collate(packs, family=family), prefetch_factor=2))
    keys = [key for batch in loader for row in batch["keys"] for key in row]
    assert sorted(keys) == [f"page-0000{number}" for number in (0, 1, 2, 4, 5, 6)]


def test_without_skipping_the_bad_page_is_named(rows: list[dict[str, Any]], family: Family) -> None:
    with pytest.raises(DecodeError, match="page 'page-00003', image 0: not an image"):
        list(Decode(Items(rows), workers=2))


def test_a_page_without_text_is_left_out_as_a_plan_leaves_it_out(family: Family) -> None:
    segments = (ImageSegment(index=0), TextSegment(text="a label", is_supervised=False))
    page = LabelledPage(key="bare", tiles=(np.zeros((28, 28, 3), np.uint8),), segments=segments)
    with pytest.raises(UnfitError, match="page 'bare' has no text to train on"):
        next(EstimateLength(Items([page]), family=family))
    node = EstimateLength(Items([page, page]), family=family, on_error="skip")
    assert (list(node), node.skipped) == ([], 2)


def test_chat_rows_are_written_out_before_the_nodes(family: Family) -> None:
    turns = [
        {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "Read."}]},
        {"role": "assistant", "content": "A line."},
    ]
    image = Image.new("RGB", (56, 56))
    row = {"key": "chat", "image": image, "messages": turns}
    with pytest.raises(RowError, match="page 'chat' is a chat row; write it out with render_chat"):
        next(samples_of(Items([row]), family))
    file = io.BytesIO()
    image.save(file, "PNG")
    written = Map(Map(Items([row | {"image": file.getvalue()}]), as_page), partial(render_chat, family=family))
    sample = next(samples_of(written, family))
    assert family.encoder.decode(sample.labels[sample.labels != -100].tolist()) == "A line.<|im_end|>"
    assert len(sample.tiles) == 3


def test_shipped_pages_pass(family: Family) -> None:
    paths = sorted(path for path in (PAGES / "images").glob("*.txt") if path.stem != "pillow-g4-multi")  # several pages
    rows = []
    for path in paths:
        image = next(other for other in path.parent.glob(path.stem + ".*") if other.suffix != ".txt")
        rows.append({"key": path.stem, "image": image.read_bytes(), "text": path.read_text("utf-8")[:300]})
    assert [sample.key for sample in samples_of(Items(rows), family, workers=2)] == [path.stem for path in paths]
