"""DroppedPages: exact and near, by image and by text, and which of them stays."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.helpers.mixed_shards import tree_of
from tests.helpers.verify_shards import draw_page, text_of_page
from wdstream.curation.deduplication.copies import pages_to_drop
from wdstream.curation.deduplication.dedup import dedup
from wdstream.curation.deduplication.dedup_options import DedupOptions
from wdstream.curation.deduplication.page_marks import NEAR_MARKS
from wdstream.curation.resharding.reshard import reshard
from wdstream.curation.resharding.reshard_options import ReshardOptions
from wdstream.errors import ConfigError
from wdstream.pixels.header import image_size
from wdstream.records import ImageSegment, Page, Segment, TextSegment
from wdstream.shards.index import merge_index
from wdstream.shards.page_members import members_from_page
from wdstream.shards.reader import Shards
from wdstream.shards.writer import SampleEntry, ShardWriter


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def write(folder: Path, pages: dict[str, tuple[bytes | None, str]], per_shard: int = 4) -> Path:
    folder.mkdir(parents=True)
    items = list(pages.items())
    for number, start in enumerate(range(0, len(items), per_shard)):
        with ShardWriter(folder / f"shard-{number:06d}.tar") as writer:
            for key, (image, text) in items[start : start + per_shard]:
                images = (image,) if image else ()
                segments: tuple[Segment, ...] = (
                    *(ImageSegment(index=0) for _ in images),
                    *([TextSegment(text=text)] if text else []),
                )
                page = Page(key=key, images=images, segments=segments)
                extensions = ["png" if each.startswith(b"\x89PNG") else "jpg" for each in images]
                writer.add(key, members_from_page(page, extensions), SampleEntry.of(page, [*map(image_size, images)]))
    merge_index(folder)
    return folder


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Pages 0 to 5, and copies of some; a word is one of eighty."""
    folder = tmp_path_factory.mktemp("copies")
    drawn = [encoded(draw_page(number)) for number in range(6)]
    texts = [text_of_page(number) for number in range(6)]
    first: dict[str, tuple[bytes | None, str]] = {f"p{n}": (drawn[n], texts[n]) for n in range(6)}
    first |= {"same": (drawn[1], texts[1]), "other-text": (drawn[2], texts[2] + " and more")}
    smaller = draw_page(3).resize((300, 400))
    second: dict[str, tuple[bytes | None, str]] = {
        "again": (drawn[1], texts[1]),
        "jpeg": (encoded(draw_page(3), "JPEG", quality=60), texts[3]),
        "smaller": (encoded(smaller, "JPEG", quality=80), texts[3].replace(" ", "  ")),
        "text-only": (None, texts[4]),
        "other-image": (encoded(draw_page(9)), texts[5]),
        "a word": (encoded(draw_page(10)), texts[0].rpartition(" ")[0]),
        "blank": (encoded(Image.new("L", (420, 560), 255)), "eins"),
        "paper": (encoded(Image.new("L", (420, 561), 255)), "zwei"),
    }
    second["a-word"] = second.pop("a word")
    return [write(folder / "one", first), write(folder / "two", second)]


def copies(two: list[Path], report: Path, **options: object) -> dict[str, tuple[str, str]]:
    found = dedup(two, report, options=DedupOptions.of({"workers": 1, **options}))
    lines = [json.loads(line) for line in report.read_text().splitlines()]
    assert found.counts.total() == len(lines)
    return {line["key"]: (line["kept"], line["why"]) for line in lines}


EXACT = {"same": ("p1", "same image and text"), "again": ("p1", "same image and text")}
NEAR = {"jpeg": ("p3", "near image and text"), "smaller": ("p3", "near image and text")}


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, EXACT),
        (
            {"by": "image"},
            {"same": ("p1", "same image"), "other-text": ("p2", "same image"), "again": ("p1", "same image")},
        ),
        (
            {"by": "text"},
            {
                name: (kept, "same text")
                for name, kept in [
                    ("same", "p1"),
                    ("again", "p1"),
                    ("jpeg", "p3"),
                    ("text-only", "p4"),
                    ("other-image", "p5"),
                ]
            },
        ),
        ({"near": True}, EXACT | NEAR | {"other-text": ("p2", "near image and text")}),
        ({"near": True, "distance": 0}, EXACT | {"other-text": ("p2", "near image and text")}),
    ],
)
def test_copies_are_found(
    two: list[Path], tmp_path: Path, options: dict[str, object], expected: dict[str, tuple[str, str]]
) -> None:
    found = copies(two, tmp_path / "list.jsonl", **options)
    if options.get("distance") == 0:
        found = {name: value for name, value in found.items() if name not in NEAR}
    assert found == expected


def test_near_texts(two: list[Path], tmp_path: Path) -> None:
    found = copies(two, tmp_path / "list.jsonl", near=True, by="text")
    assert found["a-word"] == ("p0", "near text")
    assert found["smaller"] == ("p3", "near text")
    assert found["other-text"] == ("p2", "near text")
    assert len(found) == 8
    assert (tmp_path / "list.jsonl.jpg").is_file()


def test_the_longest_text_stays(two: list[Path], tmp_path: Path) -> None:
    found = copies(two, tmp_path / "list.jsonl", by="image", keep="longest-text")
    assert found == {"same": ("p1", "same image"), "p2": ("other-text", "same image"), "again": ("p1", "same image")}


def test_the_list_is_the_same_for_any_number_of_processes_and_leads_to_shards_without_copies(
    two: list[Path], tmp_path: Path
) -> None:
    for workers in (1, 2):
        (tmp_path / str(workers)).mkdir()
        copies(two, tmp_path / str(workers) / "list.jsonl", near=True, workers=workers)
    assert tree_of(tmp_path / "1", ["workers"]) == tree_of(tmp_path / "2", ["workers"])
    options = ReshardOptions(exclude_list=str(tmp_path / "1/list.jsonl"), workers=1)
    assert reshard(two, tmp_path / "out", options=options).num_pages == 16 - 5
    assert copies([tmp_path / "out"], tmp_path / "again.jsonl", near=True) == {}
    assert Shards.open(tmp_path / "out").find("p1") is not None


def test_another_choice_reads_nothing_again(two: list[Path], tmp_path: Path) -> None:
    copies(two, tmp_path / "list.jsonl", near=True)
    marks = sorted((tmp_path / "list.jsonl.marks").glob("near-*"))
    times = [path.stat().st_mtime_ns for path in marks]
    marks[1].write_bytes(b"damaged")
    assert copies(two, tmp_path / "list.jsonl", near=True, by="image", distance=9)
    changed = [path.stat().st_mtime_ns for path in marks]
    assert [old == new for old, new in zip(times, changed, strict=True)] == [True, False, True, True]


def test_a_near_copy_is_near_to_the_page_that_stays() -> None:
    """Of three in a row, the middle one goes, and the last one, which is near to it alone, stays."""
    random = np.random.default_rng(0)
    bits = random.integers(0, 2, 256)
    looks = [bits.copy() for _ in range(3)]
    looks[1][:10] ^= 1
    looks[2][:20] ^= 1
    marks = np.zeros(3, NEAR_MARKS)
    marks["look"] = np.packbits(np.array(looks, np.uint8), axis=1).view("<u8")
    marks["images"] = [[n, 1] for n in range(3)]
    options = DedupOptions(near=True, by="image")
    found = pages_to_drop(marks, np.zeros(3, np.int32), options)
    assert (found.row.tolist(), found.kept.tolist(), found.distance.tolist()) == ([1], [0], [10])


def test_large_groups_of_near_copies_leave_one() -> None:
    random = np.random.default_rng(1)
    bits = random.integers(0, 2, 256).astype(np.uint8)
    looks = np.repeat(bits[None], 500, axis=0)
    looks[np.arange(500), random.integers(0, 256, 500)] ^= 1
    marks = np.zeros(500, NEAR_MARKS)
    marks["look"] = np.packbits(looks, axis=1).view("<u8")
    marks["images"] = [[n, 1] for n in range(500)]
    found = pages_to_drop(marks, np.zeros(500, np.int32), DedupOptions(near=True, by="image"))
    assert found.row.tolist() == list(range(1, 500))
    assert set(found.kept.tolist()) == {0}


def test_the_list_needs_a_place(two: list[Path], tmp_path: Path) -> None:
    for report in (tmp_path, tmp_path / "none/list.jsonl"):
        with pytest.raises(ConfigError, match="expected the name of a file"):
            dedup(two, report)
    with pytest.raises(ConfigError, match="into it or above it"):
        dedup(two, two[0] / "list.jsonl")


def test_other_shards_need_another_list(two: list[Path], tmp_path: Path) -> None:
    dedup(two[:1], tmp_path / "list.jsonl", options=DedupOptions(workers=1))
    with pytest.raises(
        ConfigError, match=r"list\.jsonl\.marks was made by dedup .*\n.*\n.*give another --report, or remove"
    ):
        dedup(two, tmp_path / "list.jsonl", options=DedupOptions(workers=1))


def test_filled_forms_of_one_printing_are_no_copies_of_each_other(tmp_path: Path) -> None:
    """Pictures differ in a number; the texts are a few words each, or a long one of which half differs."""
    form, printed = draw_page(3), text_of_page(3).split()
    pages: dict[str, tuple[bytes | None, str]] = {}
    for number in range(3):
        filled = form.copy()
        filled.paste(255 - 40 * number, (200, 300, 204, 304))
        pages[f"short{number}"] = encoded(filled), f"Nr. {number}"
        own = [f"filled-{number}-{place}" for place in range(len(printed))]
        pages[f"long{number}"] = encoded(filled), " ".join(printed + own)
    pages["again"] = encoded(form, "JPEG", quality=60), "Nr. 0"
    folder = write(tmp_path / "in", pages)
    assert copies([folder], tmp_path / "list", near=True) == {"again": ("short0", "near image and text")}
    assert len(copies([folder], tmp_path / "list", near=True, by="image")) == 6


def test_of_thousands_that_are_nearly_alike_each_is_near_to_the_page_that_stays_for_it() -> None:
    """More than are compared at once, in a long chain: what stays for some is not dropped for another later."""
    random = np.random.default_rng(0)
    bits = np.empty((4000, 256), np.bool_)
    bits[0] = random.random(256) < 0.5
    for row in range(1, len(bits)):
        bits[row] = bits[row - 1]
        bits[row, random.choice(256, random.integers(0, 3), replace=False)] ^= True
    random.shuffle(bits)
    bits[-1] = bits[5]
    marks = np.zeros(len(bits), NEAR_MARKS)
    marks["look"] = np.packbits(bits, axis=1).view("<u8")
    marks["images"] = random.integers(1, 1 << 62, (len(bits), 2))
    marks["images"][-1] = marks["images"][5]
    found = pages_to_drop(marks, random.integers(0, 100, len(bits)), DedupOptions(near=True, by="image"))
    assert len(found.row) > 2000
    assert np.array_equal(found.distance, (bits[found.row] != bits[found.kept]).sum(axis=1))
    assert found.distance.max() <= 12
    assert not np.isin(found.kept, found.row).any()
