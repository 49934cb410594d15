"""Forms of rows and samples that people have, one folder each: read, with the literal text and images, or refused with
what would do it. One job reads all of them.

Spans: text, raw, make_shards, shards.
"""

import base64
import csv
import io
import json
from collections.abc import Callable, Mapping
from pathlib import Path

import datasets
import numpy as np
import pytest
import webdataset
from PIL import Image

from tests.helpers.raw_pages import text_of
from wdstream.config.build import plan_from_config
from wdstream.config.schema import Config
from wdstream.errors import UnfitError
from wdstream.make_shards import MakeShardsOptions, index_folder, make_shards
from wdstream.nodes.as_page import as_page
from wdstream.nodes.measure import PageMeasurer
from wdstream.plan.sample_lengths import LengthLimits, Reject
from wdstream.records import DecodedPage, ImageSegment, Page, TextSegment
from wdstream.shards.reader import Shards


def picture(grey: int) -> Image.Image:
    return Image.new("L", (24, 16), grey)


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


A, B = encoded(picture(10), "PNG"), encoded(picture(90), "PNG")
TWO = encoded(picture(10), "TIFF", save_all=True, append_images=[picture(90)])
IN_BASE64 = base64.b64encode(A).decode()
URI = f"data:image/png;base64,{IN_BASE64}"
ASKED = [{"role": "user", "content": "<image>Read."}, {"role": "assistant", "content": "A page."}]
PARTS = [{"type": "image"}, {"type": "text", "text": "Read."}]
URL_PART = {"type": "image_url", "image_url": {"url": URI, "detail": "high"}}

ROWS: dict[str, dict[str, object]] = {
    "text": {"text": "<image>A page.", "images": ["a.png"]},
    "content": {"content": [{"type": "image"}, {"type": "text", "text": "A page."}], "images": ["a.png"]},
    "messages": {"messages": [{"role": "user", "content": PARTS}, ASKED[1]], "images": ["a.png"]},
    "image": {"image": "a.png", "text": "A page."},
    "file-name": {"file_name": "a.png", "text": "A page."},
    "image-path": {"image_path": "a.png", "text": "A page."},
    "caption": {"image": "a.png", "caption": "A page."},
    "string-contents": {"messages": ASKED, "images": ["a.png"]},
    "llava": {
        "conversations": [{"from": "human", "value": "<image>Read."}, {"from": "gpt", "value": "A page."}],
        "image": "a.png",
    },
    "swift": {"query": "<image>Read.", "response": "A page.", "images": ["a.png"]},
    "alpaca": {"instruction": "Read.", "input": "", "output": "A page.", "image": "a.png"},
    "docvqa": {"question": "Read.", "answers": ["A page."], "image": "a.png"},
    "docmatix": {"images": ["a.png"], "texts": [{"user": "Read.", "assistant": "A page.", "source": "x"}]},
    "image-url": {"messages": [{"role": "user", "content": [URL_PART, PARTS[1]]}, ASKED[1]]},
    "bytes-and-path": {"image": {"bytes": IN_BASE64, "path": "x.png"}, "text": "A page."},
    "base64": {"image": IN_BASE64, "text": "A page."},
    "data-uri": {"image": URI, "text": "A page."},
    "nested-lists": {"images": [["a.png"]], "text": "A page."},
    "single-name": {"images": "a.png", "text": "A page."},
    "nulls": {
        "messages": [{**turn, "name": None, "tool_calls": None} for turn in ASKED],
        "images": ["a.png"],
        "text": None,
        "tools": None,
    },
    "developer": {"messages": [{"role": "developer", "content": ""}, *ASKED], "images": ["a.png"]},
}
ANSWERED = {"string-contents", "messages", "llava", "swift", "alpaca", "docvqa", "docmatix", "image-url", "nulls"}
ANSWERED |= {"developer"}

SAMPLES: dict[str, dict[str, object]] = {
    **{kind: {kind: encoded(picture(10), "JPEG"), "txt": "A page."} for kind in ("jfif", "jpe")},
    "mpo": {"mpo": encoded(picture(10).convert("RGB"), "MPO"), "txt": "A page."},
    "jp2": {"jp2": encoded(picture(10), "JPEG2000"), "txt": "A page."},
    "avif": {"avif": encoded(picture(10), "AVIF"), "txt": "A page."},
    "json-text": {"png": A, "json": {"text": "A page."}},
    "json-caption": {"png": A, "json": {"caption": "A page."}},
    "tif-pages": {"tif": TWO, "txt": "A page.\fA page."},
}
REFUSED_SAMPLES: dict[str, tuple[dict[str, object], str]] = {
    "jxl": ({"jxl": b"\xff\x0a" + b"0" * 40, "txt": "t"}, "JPEG XL, expected one of JPEG, PNG"),
    "tif-one-text": ({"tif": TWO, "txt": "both"}, "its txt has the texts of 1 pages, its tif has 2 pages"),
    "md": ({"png": A, "md": "# t"}, "has an image, and no text that is read"),
    "left-right": ({"left.png": A, "right.png": B, "txt": "t"}, "or a map says which is which (image=A+B)"),
}
MAPS = {"md": "image=png,text=md", "left-right": "image=left.png+right.png,text=txt"}
"""What reads the samples that are refused without it."""


def write_tar(path: Path, *samples: Mapping[str, object]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with webdataset.TarWriter(str(path)) as writer:
        for number, sample in enumerate(samples):
            writer.write({"__key__": f"{number:03}", **sample})


def write_rows(raw: Path) -> None:
    for name, row in ROWS.items():
        folder = raw / name
        folder.mkdir(parents=True)
        if "a.png" in json.dumps(row):
            (folder / "a.png").write_bytes(A)
        (folder / "rows.jsonl").write_text(json.dumps(row) + "\n")


def write_tables(raw: Path) -> None:
    """What `datasets` writes, a JSON array, and a CSV."""
    features = datasets.Features({"image": datasets.Image(), "text": datasets.Value("string")})
    (raw / "parquet").mkdir()
    table = datasets.Dataset.from_dict({"image": [{"bytes": A, "path": None}], "text": ["A page."]}, features=features)
    table.to_parquet(raw / "parquet/train-00000-of-00001.parquet")
    table.save_to_disk(str(raw / "saved"))
    for folder in ("array", "csv"):
        (raw / folder).mkdir()
        (raw / folder / "a.png").write_bytes(A)
    (raw / "array/rows.json").write_text(json.dumps([ROWS["image"]]))
    with (raw / "csv/metadata.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("file_name", "text"), ("a.png", "A page.")])


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("forms") / "raw"
    write_rows(folder)
    write_tables(folder)
    for name, sample in SAMPLES.items():
        write_tar(folder / name / "a.tar", sample)
    for name, (sample, _reason) in REFUSED_SAMPLES.items():
        write_tar(folder / name / "a.tar", sample)
    for name in ("a.tar", "b.tar"):  # keys that come again
        write_tar(folder / "equal-keys" / name, {"png": A, "txt": "A page."})
    write_tar(folder / "below/x/a.tar", {"png": A, "txt": "A page."})
    write_tar(folder / "packed/a.tar", {"png": A, "txt": "A page."})
    write_tar(folder / "packed/b.tar.gz", {"png": A, "txt": "A page."})
    return folder


def test_every_form_comes_in_or_is_refused(raw: Path, tmp_path: Path) -> None:
    report = make_shards(raw, tmp_path / "out", options=MakeShardsOptions(workers=1))
    shards = Shards.open(tmp_path / "out")
    found: dict[str, list[Page]] = {}
    for page in map(shards.read_page, range(len(shards))):
        found.setdefault(str(page.meta["source"]).partition("/")[0], []).append(page)
    twice = {"equal-keys", "packed", "tif-pages"}
    assert found.keys() == {*ROWS, *SAMPLES, *twice, "parquet", "saved", "array", "csv", "below"}
    for name, pages in found.items():
        assert len(pages) == (2 if name in twice else 1), name
        for page in pages:
            assert text_of(page) == ("Read.A page." if name in ANSWERED else "A page."), name
            assert len(page.images) == 1, name
            assert page.images[0] == A or name in SAMPLES, name
    refused = {entry.file.partition("/")[0]: entry.reason for entry in report.quarantined}
    assert refused.keys() == REFUSED_SAMPLES.keys()
    assert not [name for name, reason in refused.items() if REFUSED_SAMPLES[name][1] not in reason]


@pytest.mark.parametrize("name", MAPS)
def test_a_map_reads_what_is_refused(raw: Path, tmp_path: Path, name: str) -> None:
    options = MakeShardsOptions(workers=1, map=(MAPS[name],))
    assert make_shards(raw / name, tmp_path / "out", options=options).quarantined == ()
    page = Shards.open(tmp_path / "out").read_page(0)
    assert (text_of(page), page.images) == {"md": ("# t", (A,)), "left-right": ("t", (A, B))}[name]


def test_an_index_takes_them(raw: Path, tiny_model: Path) -> None:
    for name in ("jfif", "jpe", "mpo", "jp2", "avif", "json-text", "json-caption"):
        report = index_folder(raw / name, tiny_model, workers=1)
        assert not report.index.failures, name


def test_an_empty_answer_is_trained_on_by_no_door(
    stream_config: Callable[..., Config], tmp_path: Path, tiny_model: Path
) -> None:
    answers = {"empty": "", "blank": " \n", "full": "A page."}
    rows: dict[str, dict[str, object]] = {
        name: {"messages": [ASKED[0], {"role": "assistant", "content": answer}]} for name, answer in answers.items()
    }
    rows["unsupervised"] = {"content": [PARTS[0], {**PARTS[1], "is_supervised": False}]}
    write_tar(tmp_path / "raw/a.tar", *({"__key__": name, "png": A, "json": row} for name, row in rows.items()))
    report = make_shards(tmp_path / "raw", tmp_path / "out", options=MakeShardsOptions(workers=1))
    assert [entry.reason for entry in report.quarantined] == [
        f"sample {name!r}: no text: the answer is empty" for name in rows if name != "full"
    ]
    index_folder(tmp_path / "raw", tiny_model, workers=1)
    plan = plan_from_config(stream_config(tmp_path / "raw"))
    lengths, _ = plan.mixture.planned[0].measure(np.arange(4))
    wanted = [Reject.ACCEPTED if name == "full" else Reject.EMPTY_TEXT for name in rows]
    assert lengths.reject.tolist() == wanted
    measure = PageMeasurer(plan.family, plan.tiling, LengthLimits.of(plan.settings, plan.family, downscale=False))
    for row, (name, reject) in enumerate(zip(rows, wanted, strict=True)):
        for page in (plan.shards[0].read_page(row), as_page({"images": [A], "id": name, **rows[name]})):
            assert isinstance(page, Page)
            if reject:
                with pytest.raises(UnfitError, match=f"page '{name}': empty text"):
                    measure(page)
            else:
                assert measure(page).tokens == lengths.tokens[row]


def test_samples_in_memory_have_images_of_pillow() -> None:
    page = as_page({"image": picture(10), "text": "A page."})
    assert isinstance(page, DecodedPage)
    assert page.segments == (ImageSegment(index=0), TextSegment(text="A page."))
    assert [image.shape for image in page.images] == [(16, 24, 3)]


def test_what_a_row_calls_text_dropped_is_its_metadata(tmp_path: Path) -> None:
    """A table of exported pages has nulls in it, a row of anybody what it likes: the job ended with a traceback."""
    counts: list[object] = [{"covered": count} for count in (None, "3", 2.5, True, 3)]
    values = [None, "x", 5, [1], *counts]
    raw = tmp_path / "raw"
    raw.mkdir()
    rows = [{"text": f"row {number}", "text_dropped": value} for number, value in enumerate(values)]
    (raw / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    report = make_shards(raw, tmp_path / "out", options=MakeShardsOptions(workers=1))
    assert report.num_pages == len(values) and not report.quarantined
    assert report.dropped == {"covered": 3}
    shards = Shards.open(tmp_path / "out")
    assert [page.meta.get("text_dropped") for page in map(shards.read_page, range(len(shards)))] == values
