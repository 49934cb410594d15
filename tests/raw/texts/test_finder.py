from collections.abc import Iterable, Mapping
from pathlib import Path

import pytest

from tests.helpers.paths import DATA
from wdstream.errors import ConfigError
from wdstream.raw.listing import Listing, list_files
from wdstream.raw.settings import RawSettings
from wdstream.raw.texts.finder import folder_to_name
from wdstream.raw.texts.names import readings

ALTO, PAGE_XML, HOCR, OTHER = b"<alto/>", b"<PcGts/>", b'<html><div class="ocr_page">', b"<dc/>"


def put(root: Path, files: Iterable[str] | Mapping[str, bytes]) -> None:
    contents = files if isinstance(files, Mapping) else dict.fromkeys(files, b"x")
    for name, content in contents.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def texts(listing: Listing) -> dict[str, tuple[str, ...]]:
    return {file.path: file.texts for file in listing.files}


def test_readings_of_a_name() -> None:
    assert [(r.owner, r.page, r.form) for r in readings("a.gt.txt")] == [("a", None, "gt.txt"), ("a.gt", None, "txt")]
    assert [(r.owner, r.page, r.form) for r in readings("a.0003.alto.xml")] == [
        ("a.0003", None, "alto"),
        ("a", 3, "alto"),
        ("a.0003.alto", None, "xml"),
    ]
    assert [*readings("a.pdf")] == [*readings(".xml")] == []


@pytest.mark.parametrize(
    "text",
    [
        *("1.xml", "1.alto.xml", "1_alto.xml", "1.tif.xml", "1.hocr", "1.html", "1.HTM", "1.page.xml", "page/1.xml"),
        *("1.md", "1.tif.md", "1.gt.txt", "1.hocr.html", "page/1.tif.xml", "1.markdown"),
    ],
)
def test_a_text_next_to_its_image(tmp_path: Path, text: str) -> None:
    put(tmp_path, ["in/1.tif", f"in/{text}"])
    listing = list_files(tmp_path)
    assert texts(listing) == {"in/1.tif": (f"in/{text}",)}
    assert f"in/{text}" in listing.stamps
    assert listing.ignored == {}


@pytest.mark.parametrize(
    ("image", "text", "item"),
    [
        ("1.tif", "alto/1.xml", "alto/"),
        ("img/1.tif", "img/alto/1.xml", "alto/"),
        ("img/1.tif", "alto/1.xml", "alto/"),
        ("img/1.tif", "alto/1.xml", "../alto/"),
        ("vol/img/1.tif", "vol/alto/1.xml", "alto/"),
        ("img/vol/1.tif", "alto/vol/1.xml", "alto/"),
        ("set/img/vol/1.tif", "set/text/alto/vol/1.xml", "text/alto/"),
        ("img/1.png", "txt/1.txt", "txt/"),
        ("img/1.png", "alto/img/1.xml", "alto/"),
    ],
)
def test_a_text_in_a_named_folder(tmp_path: Path, image: str, text: str, item: str) -> None:
    put(tmp_path, [image, text])
    assert texts(list_files(tmp_path, text_from=(item,))) == {image: (text,)}
    (without,) = list_files(tmp_path).files
    assert (without.texts, without.near) == ((), text)
    named = folder_to_name(image[: image.rfind("/") + 1], text)
    assert named is not None
    assert texts(list_files(tmp_path, text_from=(named,))) == {image: (text,)}


def test_the_nearest_text_is_named(tmp_path: Path) -> None:
    put(tmp_path, ["img/1.tif", "img/2.tif", "alto/1.xml"])
    assert [file.near for file in list_files(tmp_path).files] == ["alto/1.xml", None]


def test_several_texts_and_the_order_between_them(tmp_path: Path) -> None:
    put(
        tmp_path,
        {
            "1.png": b"",
            "1.hocr": HOCR,
            "1.xml": ALTO,
            "page/1.xml": PAGE_XML,
            "1.txt": b"",
            "1.md": b"",
            "1.gt.txt": b"",
        },
    )
    assert texts(list_files(tmp_path)) == {"1.png": ("1.gt.txt",)}
    (tmp_path / "1.gt.txt").unlink()
    assert texts(list_files(tmp_path)) == {"1.png": ()}, "the text file of before"
    for wanted, path in (("hocr", "1.hocr"), ("alto", "1.xml"), ("page", "page/1.xml"), ("md", "1.md")):
        listing = list_files(tmp_path, text_from=(wanted,))
        assert texts(listing) == {"1.png": (path,)}
        assert sum(listing.texts_left.unused.values()) == 4
    (tmp_path / "1.txt").unlink()
    listing = list_files(tmp_path)
    assert texts(listing) == {"1.png": ("page/1.xml",)}
    assert listing.texts_left.unused == {"alto": 1, "hocr": 1, "md": 1}
    assert [*listing.texts_left.remarks()] == [
        "texts of pages that have another one, which comes first (--text-from): 1 alto, 1 hocr, 1 md"
    ]
    assert texts(list_files(tmp_path, text_from=("page/", "alto"))) == {"1.png": ("page/1.xml",)}


def test_xml_that_is_no_text_and_texts_that_have_no_page(tmp_path: Path) -> None:
    put(
        tmp_path,
        {"1.png": b"", "1.txt": b"x", "1.xml": OTHER, "2.pdf": b"", "2.xml": OTHER, "3.xml": ALTO, "a.md": b""},
    )
    listing = list_files(tmp_path)
    assert texts(listing) == {"1.png": (), "2.pdf": ()}
    assert [*listing.texts_left.remarks()] == [
        "2 XML files next to pages hold no text: 1.xml (a root element dc), 2.xml (a root element dc)",
        "1 text files have no page: 3.xml",
    ]
    assert listing.ignored == {".md": 1, ".xml": 1}


def test_one_text_for_each_page(tmp_path: Path) -> None:
    put(tmp_path, {"a.tif": b"", "a.1.xml": ALTO, "a.0002.xml": ALTO, "a.3.xml": ALTO})
    assert texts(list_files(tmp_path)) == {"a.tif": ("a.0002.xml", "a.1.xml", "a.3.xml")}


def test_ground_truth_of_lines(tmp_path: Path) -> None:
    put(tmp_path, ["1.png", "1.bin.png", "1.nrm.png", "1.gt.txt"])
    assert texts(list_files(tmp_path)) == dict.fromkeys(("1.bin.png", "1.nrm.png", "1.png"), ("1.gt.txt",))


def test_images_with_a_text_are_not_left_to_rows(tmp_path: Path) -> None:
    put(tmp_path, ["rows.jsonl", "1.png", "1.xml", "2.png"])
    listing = list_files(tmp_path)
    assert listing.left_to_rows == ("2.png",)
    assert texts(listing) == {"1.png": ("1.xml",), "rows.jsonl": ()}


def test_pdfs_that_keep_their_layers(tmp_path: Path) -> None:
    put(tmp_path, ["1.pdf", "1.md", "2.png", "2.md"])
    assert texts(list_files(tmp_path)) == {"1.pdf": ("1.md",), "2.png": ("2.md",)}
    assert texts(list_files(tmp_path, keep_layers=True)) == {"1.pdf": (), "2.png": ("2.md",)}


@pytest.mark.parametrize("item", ["alto_files", "/abs/", "", "ALTO"])
def test_what_text_from_may_be(item: str) -> None:
    with pytest.raises(ConfigError, match="text_from: expected a folder in RAW with a slash at its end"):
        RawSettings(text_from=(item,))


def test_the_shipped_pages_have_no_other_texts() -> None:
    listing = list_files(DATA / "pages")
    assert not any(file.texts or file.near for file in listing.files)
    assert [*listing.texts_left.remarks()] == []


def test_a_folder_in_which_no_page_has_a_text_is_named(tmp_path: Path) -> None:
    put(tmp_path, ["img/1.tif", "alto/1.xml", "img/1.gt.txt"])
    listing = list_files(tmp_path, text_from=("alto/", "altoo/", "page"))
    assert next(iter(listing.texts_left.remarks())) == "--text-from altoo/: no page has a text there"
    assert listing.texts_left.empty == ("altoo/",)
