"""PDFs and TIFFs of several pages in tars, laid out as PDFA and IDL are, against the same files in a folder."""

import io
import json
import os
from pathlib import Path
from typing import Any

import pytest
import webdataset
from PIL import Image

from tests.helpers.paths import DATA
from tests.helpers.raw_pages import RawPages, read_raw
from wdstream.make_shards import MakeShardsOptions, make_shards
from wdstream.pixels.header import image_size
from wdstream.shards.tar_folder import TarFolder

PDF = (DATA / "pages/pdf/handbook-fa-sect.user-space.pdf").read_bytes()
TIFF = (DATA / "pages/images/pillow-g4-multi.tiff").read_bytes()


def read(tmp_path: Path, *samples: dict[str, object], **settings: object) -> RawPages:
    (tmp_path / "raw").mkdir(exist_ok=True)
    with webdataset.TarWriter(str(tmp_path / "raw/x.tar")) as writer:
        for sample in samples:
            writer.write(sample)
    return read_raw(tmp_path / "raw", **settings)  # type: ignore[arg-type]


def bilevel(*numbers: int) -> bytes:
    pages = [Image.new("1", (60 + number, 40), 1) for number in numbers]
    buffer = io.BytesIO()
    pages[0].save(buffer, "TIFF", save_all=True, append_images=pages[1:], compression="group4")
    return buffer.getvalue()


def test_pages_of_a_pdf_have_the_texts_of_its_json(tmp_path: Path) -> None:
    pages = [
        {"lines": {"text": ["first line", "second"], "bbox": [[0, 0, 1, 1]] * 2}, "words": {"text": ["no"]}},
        {"words": {"text": ["b", "a", "c"], "line_pos": [[1, 0], [0, 0], [1, 1]]}, "images_bbox": []},
    ]
    found = read(tmp_path, {"__key__": "4102114", "pdf": PDF, "json": {"pages": pages, "lang": "fa"}})
    assert not found.refused
    assert found.texts == {"x@4102114@0001": "first line\nsecond", "x@4102114@0002": "a\nb c"}
    page = found.pages["x@4102114@0002"]
    assert page.meta == {"lang": "fa", "source": "x.tar", "sample": "4102114", "page": 2, "text_from": "json"}
    drawn = [Image.open(io.BytesIO(page.images[0])) for page in found.pages.values()]
    assert [(image.format, image.size) for image in drawn] == [("JPEG", (1275, 1650))] * 2 or drawn[0].width > 500


def test_a_pdf_without_texts_or_by_option_has_its_own_layer(tmp_path: Path) -> None:
    (tmp_path / "alone").mkdir()
    (tmp_path / "alone/x.pdf").write_bytes(PDF)
    expected = read_raw(tmp_path / "alone")
    for settings, sample in (
        ({}, {"pdf": PDF}),
        ({}, {"pdf": PDF, "json": {"lang": "fa"}}),
        ({"document_text": "layer"}, {"pdf": PDF, "json": {"pages": ["a", "b"]}, "tif": bilevel(1, 2)}),
    ):
        found = read(tmp_path, {"__key__": "p", **sample}, **settings)
        assert list(found.texts.values()) == list(expected.texts.values())
        assert [page.images for page in found.pages.values()] == [page.images for page in expected.pages.values()]
        assert [reason for _f, _n, reason in found.refused] == [
            f"sample 'p': {reason}" for _file, _number, reason in expected.refused
        ]


def test_pages_of_a_tiff_with_lines_of_idl_or_a_txt(tmp_path: Path) -> None:
    (tmp_path / "alone").mkdir()
    (tmp_path / "alone/x.tiff").write_bytes(TIFF)
    (tmp_path / "alone/x.txt").write_text("1\f2\f3")
    expected = read_raw(tmp_path / "alone")
    lines = [{"text": [f"line {n}", "end"], "score": [0.5, 1.0], "poly": [], "bbox": []} for n in range(3)]
    found = read(
        tmp_path,
        {"__key__": "a", "tif": TIFF, "json": {"pages": lines}, "ocr": b"raw"},
        {"__key__": "b", "tif": TIFF, "txt": "one\ftwo\fthree\f"},
        {"__key__": "c", "tif": bilevel(7), "pdf": one_page_pdf(), "json": {"pages": lines[:1]}},
        {"__key__": "d", "tif": bilevel(8), "json": {"pages": lines[:1]}},
        {"__key__": "e", "tif": bilevel(9), "txt": "an image and its text"},
    )
    assert not found.refused
    assert found.texts == {
        **{f"x@a@000{n + 1}": f"line {n}\nend" for n in range(3)},
        **{f"x@b@000{n + 1}": text for n, text in enumerate(("one", "two", "three"))},
        "x@c@0001": "line 0\nend",
        "x@d@0001": "line 0\nend",
        "x@e": "an image and its text",
    }
    assert found.pages["x@a@0001"].meta["text_confidence"] == 0.75
    images = [page.images for page in expected.pages.values()]
    assert [found.pages[f"x@{key}@000{n + 1}"].images for key in "ab" for n in range(3)] == images * 2
    assert Image.open(io.BytesIO(found.pages["x@c@0001"].images[0])).size == (67, 40)


def test_a_page_of_lines_and_words_of_lines(tmp_path: Path) -> None:
    """A list of lines is a page; words are in lines as far as these have each word once, else in one line."""
    words = ["a", "b", "c"]
    slices = {"two": [[0, 2], [2, 3]], "lost": [[0, 2]], "twice": [[0, 2], [1, 3]], "turned": [[2, 3], [0, 2]]}
    pages: dict[str, object] = {
        "texts": ["one", "two"],
        "objects": [{"text": "one", "bbox": [0, 0, 1, 1]}, {"text": "two", "bbox": [0, 1, 1, 1]}],
        **{name: {"words": {"text": words}, "lines": {"word_slice": pairs}} for name, pairs in slices.items()},
    }
    samples: list[dict[str, object]] = [
        {"__key__": name, "tif": bilevel(1), "json": {"pages": [page]}} for name, page in pages.items()
    ]
    found = read(tmp_path, *samples, {"__key__": "none", "tif": bilevel(1), "json": {"pages": [[3]]}})
    assert [found.texts[f"x@{name}@0001"] for name in pages] == ["one\ntwo"] * 2 + ["a b\nc"] + ["a b c"] * 3
    assert [reason for *_, reason in found.refused] == [
        "sample 'none': page 1 of its json is list; a text, or an object with one, expected"
    ]


def one_page_pdf() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (100, 80), "white").save(buffer, "PDF")
    return buffer.getvalue()


@pytest.mark.parametrize("at_once", [1, 2, 3, 100])
def test_pages_are_found_wherever_a_shard_begins(tmp_path: Path, at_once: int) -> None:
    samples: list[dict[str, object]] = [{"__key__": "0", "png": png(), "txt": "alone"}]
    samples += [{"__key__": "1", "pdf": PDF, "json": {"pages": ["p1", "p2"]}}]
    samples += [{"__key__": f"2{n}", "png": png(), "txt": f"t{n}"} for n in range(3)]
    samples += [{"__key__": "3", "tif": TIFF, "txt": "a\fb\fc"}, {"__key__": "4", "png": png(), "txt": "last"}]
    found = read(tmp_path, *samples, pages_at_once=at_once)
    assert not found.refused
    assert list(found.texts.values()) == ["alone", "p1", "p2", "t0", "t1", "t2", "a", "b", "c", "last"]


def png() -> bytes:
    buffer = io.BytesIO()
    Image.new("L", (9, 9)).save(buffer, "PNG")
    return buffer.getvalue()


def test_a_json_is_read_once_for_all_pages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be of hundreds of pages, with every word of them."""
    loads, calls = json.loads, list[int]()

    def counted(data: bytes, **more: Any) -> object:
        calls.append(len(data))
        return loads(data, **more)

    monkeypatch.setattr(json, "loads", counted)
    texts = [f"text {number} " + "x" * 1000 for number in range(20)]
    for pages in (texts, texts[1:]):
        found = read(tmp_path, {"__key__": "a", "tif": bilevel(*range(20)), "json": {"pages": pages}})
        assert (len(found.pages), len(found.refused)) == ((20, 0) if pages is texts else (0, 20))
    assert sum(num_bytes > 10_000 for num_bytes in calls) == 4  # the texts, and the metadata


def test_documents_that_cannot_be_read_are_not_tried_again_for_a_touch(tmp_path: Path) -> None:
    read(
        tmp_path,
        {"__key__": "a", "tif": bilevel(1, 2), "json": {"pages": ["one"]}},
        {"__key__": "b", "png": png(), "txt": "sound"},
    )
    options = MakeShardsOptions(workers=1)
    report = make_shards(tmp_path / "raw", tmp_path / "out", options=options)
    assert (report.pages_made, report.num_quarantined) == (3, 2)
    os.utime(tmp_path / "raw/x.tar", (1, 1))
    assert make_shards(tmp_path / "raw", tmp_path / "out", options=options).pages_made == 0


def test_what_does_not_fit_costs_its_sample(tmp_path: Path) -> None:
    found = read(
        tmp_path,
        {"__key__": "a", "pdf": b"%PDF-1.4 no more", "json": {"pages": ["x"]}},
        {"__key__": "b", "pdf": PDF, "json": {"pages": ["one"]}},
        {"__key__": "c", "pdf": PDF, "json": {"pages": [{"bbox": []}, None]}},
        {"__key__": "d", "pdf": one_page_pdf(), "jpg": b"\xff\xd8\xff", "json": {"pages": ["d"]}},
        {"__key__": "e", "tif": bilevel(1, 2), "pdf": one_page_pdf(), "json": {"pages": ["1", "2"]}},
        {"__key__": "f", "tif": bilevel(1, 2)},
        {"__key__": "g", "pdf": one_page_pdf(), "json": b'{"pages": [}'},
        {"__key__": "h", "pdf": one_page_pdf(), "json": json.dumps({"pages": [""]}).encode()},
        {"__key__": "i", "pdf": one_page_pdf(), "txt": b"\xff\xfe"},
        {"__key__": "j", "png": png(), "txt": "sound"},
        {"__key__": "k", "tiff": bilevel(1, 2), "json": {"texts": ["a", None, None], "images": [None, "p0", "p1"]}},
    )
    assert found.texts == {"x@j": "sound"}
    reasons = {reason.split("'")[1]: reason.split(": ", 1)[1] for _file, _page, reason in found.refused}
    assert reasons["a"].startswith("not a readable PDF")
    own = "; --document-text layer takes the PDF's own"
    assert reasons["b"] == f"its json has the texts of 1 pages, its pdf has 2 pages{own}"
    assert reasons["c"] == "page 1 of its json has no text, lines or words that are read: it has bbox"
    assert reasons["d"] == "its image 'jpg' is not used next to its pdf: leave it out, or name it by --map"
    assert reasons["e"] == "its tif has 2 pages, its pdf has not: which one is the document?"
    assert reasons["f"] == "no text: neither json with pages nor txt in its sample"
    assert reasons["g"].startswith("its json cannot be read")
    assert reasons["h"].startswith("no text")
    assert reasons["i"] == "its txt is UTF-16, or no text: write it as UTF-8"
    assert reasons["k"] == (
        "its json has images and texts of the whole sample, and its tiff is 2 pages: write each page as an image of "
        "its own next to the json, by the name that the json has for it"
    )


def test_the_index_names_the_command_that_reads_documents(tmp_path: Path) -> None:
    read(
        tmp_path,
        {"__key__": "a", "tif": bilevel(1, 2), "txt": "one\ftwo"},
        {"__key__": "b", "pdf": PDF, "json": {"pages": ["1", "2"]}},
        {"__key__": "c", "png": png(), "txt": "sound"},
    )
    report = TarFolder(tmp_path / "raw", image_size).index()
    command = f"make-shards {tmp_path / 'raw'} NEW_FOLDER`"
    assert [(bad.key, bad.reason.endswith(command)) for _shard, bad in report.failures] == [("a", True), ("b", True)]
    assert len(read_raw(tmp_path / "raw").pages) == 5


def test_a_map_says_which_part_and_which_texts(tmp_path: Path) -> None:
    json_part = {"ocr": {"sheets": ["by map 1", "by map 2"]}, "pages": ["1", "2"]}
    sample: dict[str, object] = {"__key__": "a", "pdf": PDF, "tif": bilevel(1, 2), "json": json_part}
    found = read(tmp_path, sample, map=("text=json:ocr.sheets,image=pdf",))
    assert list(found.texts.values()) == ["by map 1", "by map 2"]
    assert all(page.images[0].startswith(b"\xff\xd8") for page in found.pages.values())
    for preset, start in (("pdfa", b"\xff\xd8"), ("idl", b"II")):
        found = read(tmp_path, sample, preset=preset)
        assert list(found.texts.values()) == ["1", "2"]
        assert all(page.images[0].startswith(start) for page in found.pages.values())
    found = read(tmp_path, sample, map=("text=json:nothing",))
    assert [reason for _file, _page, reason in found.refused] == [
        "sample 'a': no json:nothing in it, which has the texts of its pages by the map"
    ] * 2
