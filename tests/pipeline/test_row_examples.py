"""Rows of ten layouts, examples/rows: the same pages, image bytes and labels through every door, from raw files, from
tars of samples with an index and without one, and as samples in memory; read by themselves and by their preset.

Spans: text, raw, make_shards, shards, pipeline, nodes.
"""

import io
import json
import tarfile
from collections.abc import Iterable, Iterator
from itertools import islice, takewhile
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.paths import ROOT
from wdstream.families.registry import load_family
from wdstream.make_shards import MakeShardsOptions, index_folder, make_shards
from wdstream.nodes.as_page import as_page
from wdstream.nodes.lane import LaneSettings
from wdstream.pipeline.planned import Plan
from wdstream.pipeline.streamed import Lanes
from wdstream.records import ImageSegment, Page, TextSegment, TurnSegment
from wdstream.shards.reader import Shards
from wdstream.text.maps.field_map import FieldMap
from wdstream.text.row_forms import RowRules, read_row
from wdstream.tiling.policy import TilingPolicy

EXAMPLES = ROOT / "examples" / "rows"
SENDER = "ACME Inc.\n1918 Tanglewood Road\nJackson, MS, 39201"
CUSTOMER = "Megan J. Stark\n828 Pearcy Avenue\nNorth Manchester, IN, 46942"
NUMBER = "Invoice No: 912345678\nDate: January 1, 2022"
READ = {
    "llava@1": ["user:", "[sender]", "\nWho sends it?", "assistant:", "ACME Inc."],
    "llava@2": [
        *("user:", "Whose address is this?\n", "[customer]", "assistant:", "Megan J. Stark's."),
        *("user:", "Which city?", "assistant:", "North Manchester."),
    ],
    "llava@3": ["user:", "What is an invoice?", "assistant:", "A list of what is to be paid."],
    "sharegpt@1": [
        *("system:", "You read invoices.", "user:", "[number]", "Which number does it have?"),
        *("assistant:", "912345678"),
    ],
    "sharegpt@2": ["system:", "You read invoices.", "user:", "Is there a total?", "assistant:", "Not here."],
    "openai@1": ["system:", "You read invoices.", "user:", "What is due?", "[items]", "assistant:", "$1,262.35"],
    "openai@2": ["user:", "[items]", "How many of item 5?", "assistant:", "10"],
    "alpaca@1": ["user:", "Add up.\n19.90 + 100.00", "assistant:", "119.90"],
    "alpaca@2": [
        *("user:", "Name the first month.", "assistant:", "January"),
        *("user:", "Name the month after January.", "assistant:", "February"),
    ],
    "docvqa@1": ["user:", "[number]", "What is the date?", "assistant:", "January 1, 2022"],
    "docvqa@2": ["user:", "[items]", "What is the unit price of item 4?", "assistant:", "123.00"],
    "swift@1": ["user:", "[sender]", "Read.", "assistant:", SENDER],
    "swift@2": [
        *("system:", "You read.", "user:", "Can you read?", "assistant:", "Yes."),
        *("user:", "[number]", "And this?", "assistant:", NUMBER),
    ],
    "captions@1": ["[sender]", SENDER],
    "captions@2": ["[customer]", CUSTOMER],
    "imagefolder@1": ["[number]", NUMBER],
    "imagefolder@2": [
        "[items]",
        "QUANTITY DESCRIPTION UNIT PRICE TOTAL\n2 Item 1 9.95 19.90\n5 Item 2 20.00 100.00\n1 Item 3 19.95 19.95\n"
        "1 Item 4 123.00 123.00\n10 Item 5 99.95 999.50\nTOTAL DUE $1,262.35",
    ],
    "obelics@1": ["[sender]", "An invoice begins with its sender.", "[items]", "It ends with what is due."],
    "obelics@2": ["One sender:", "[sender]"],
    "mmc4@1": ["[customer]", "An invoice has a customer.", "[number]", "It has a number, too. And a date."],
}


def rows() -> Iterator[tuple[str, dict[str, Any]]]:
    for file in sorted(EXAMPLES.glob("*/*.jsonl")):
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1):
            yield f"{file.parent.name}@{number}", json.loads(line)


def images_of(name: str) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((EXAMPLES / name.partition("@")[0]).glob("*.png"))}


def in_short(name: str, page: Page) -> list[str]:
    """Segments, an image by the name of the file that has its bytes."""
    names = {data: path.removesuffix(".png") for path, data in images_of(name).items()}
    found = []
    for segment in page.segments:
        if isinstance(segment, TurnSegment):
            found.append(f"{segment.role}:")
        elif isinstance(segment, TextSegment):
            found.append(segment.text)
        elif isinstance(segment, ImageSegment):
            found.append(f"[{names[page.images[segment.index]]}]")
    return found


def with_bytes(value: Any, images: dict[str, bytes]) -> Any:
    """A row with the images that it names in it."""
    if isinstance(value, str):
        return images.get(value, value)
    if isinstance(value, dict):  # a file that was read is not a file name
        value = {"image" if key == "file_name" else key: inner for key, inner in value.items()}
        return {key: with_bytes(inner, images) for key, inner in value.items()}
    return [with_bytes(inner, images) for inner in value] if isinstance(value, list) else value


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Path:
    out = tmp_path_factory.mktemp("examples") / "out"
    report = make_shards(EXAMPLES, out, options=MakeShardsOptions(workers=1, tokenizer=tiny_model))
    assert (report.num_pages, report.num_quarantined) == (len(READ), 0)
    lines = list(report.readings.lines())
    for layout in sorted({name.partition("@")[0] for name in READ}):
        assert any(f"read as {layout}: " in line for line in lines), layout
    return out


@pytest.fixture(scope="module")
def tars(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Path:
    """Each row as a sample: its json, and the images that it names under their names."""
    folder = tmp_path_factory.mktemp("tars")
    with tarfile.open(folder / "rows.tar", "w", format=tarfile.USTAR_FORMAT) as tar:
        for name, row in rows():
            text = json.dumps(row)
            parts = {image: data for image, data in images_of(name).items() if f'"{image}"' in text}
            for part, data in [("json", text.encode()), *parts.items()]:
                member = tarfile.TarInfo(f"{name.replace('@', '-')}.{part}")
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
    report = index_folder(folder, tiny_model, workers=1)
    assert len(Shards.open(folder)) == len(READ) and not report.index.failures
    assert any("read as llava: image=image, turns=conversations" in note for note in report.notes)
    return folder


def test_rows_of_raw_files(made: Path) -> None:
    shards = Shards.open(made)
    pages = {
        f"{p.meta['source'].partition('/')[0]}@{p.meta['line']}": p for p in map(shards.read_page, range(len(READ)))
    }
    assert {name: in_short(name, page) for name, page in pages.items()} == READ


def test_samples_of_tars(tars: Path) -> None:
    shards = Shards.open(tars)
    pages = {page.key.replace("-", "@"): page for page in map(shards.read_page, range(len(READ)))}
    assert {name: in_short(name, page) for name, page in pages.items()} == READ


def test_samples_in_memory_and_presets() -> None:
    for name, row in rows():
        layout, sample = name.partition("@")[0], with_bytes(row, images_of(name))
        for page in (as_page(sample), as_page(sample, preset=layout)):
            assert isinstance(page, Page)
            assert in_short(name, page) == READ[name]
        by_itself, by_name = read_row(row), read_row(row, RowRules(field_map=FieldMap.of_layout(layout)))
        assert by_itself.segments == by_name.segments
        assert [image.data or image.name for image in by_itself.images] == [i.data or i.name for i in by_name.images]


def documents(batches: Iterable[Any]) -> list[tuple[list[int], list[int]]]:
    """Ids and labels of every document, sorted."""
    found = []
    for batch in batches:
        end = 0
        ids, labels = batch["input_ids"][0].tolist(), batch["labels"][0].tolist()
        for length in batch["lengths"][0]:
            found.append((ids[end : end + length], labels[end : end + length]))
            end += length
    return sorted(found)


def test_labels_are_the_same_whoever_reads(made: Path, tars: Path, tiny_model: Path) -> None:
    family, policy = load_family(tiny_model), TilingPolicy(kind="none")
    sizes: dict[str, Any] = {"sequence_length": 512, "max_patches": 4096, "global_batch_size": 1}
    found = []
    for folder in (made, tars):
        plan = Plan(Shards.open(folder), family, policy, epochs=1, **sizes)
        with plan.loader() as loader:
            found.append(documents(islice(loader, plan.total_steps())))
    settings = LaneSettings(family=family, tiling=policy, lanes=1, epochs=1, **sizes)
    with Lanes(urls=[str(tars / "rows.tar")], settings=settings).loader() as stream:
        found.append(documents(takewhile(lambda batch: any(batch["keys"]), stream)))
    assert len(found[0]) == len(READ)
    assert found[0] == found[1] == found[2]
    assert all(any(label != -100 for label in labels) for _ids, labels in found[0])
