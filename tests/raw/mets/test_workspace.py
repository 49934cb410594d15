from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from tests.helpers.mets_files import Page, mets
from tests.helpers.paths import DATA, ROOT
from tests.raw.texts.test_finder import ALTO, HOCR, OTHER, PAGE_XML, put, texts
from wdstream.errors import ConfigError
from wdstream.make_shards import MakeShardsOptions, make_shards
from wdstream.raw.listing import Listing, list_files
from wdstream.raw.mets.document import read_mets
from wdstream.raw.mets.groups import MetsGroups
from wdstream.shards.reader import Shards


def listed(root: Path, pages: Sequence[Page], files: Mapping[str, bytes], mets_file: str = "mets.xml") -> Listing:
    put(root, {**files, mets_file: mets(pages, objid="book")})
    return list_files(root)


def meta(listing: Listing) -> dict[str, dict[str, str | int]]:
    return {file.path: dict(file.meta) for file in listing.files}


def test_images_and_texts_of_other_names(tmp_path: Path) -> None:
    pages: list[Page] = [
        ({"ORDER": "1", "ORDERLABEL": "i"}, {"DEFAULT": "img/z.jpg", "FULLTEXT": "text/FILE_7.xml"}),
        ({"ORDER": "2"}, {"DEFAULT": "img/a.jpg", "FULLTEXT": "text/FILE_3.xml"}),
    ]
    files = {"img/z.jpg": b"x", "img/a.jpg": b"x", "text/FILE_7.xml": ALTO, "text/FILE_3.xml": PAGE_XML}
    listing = listed(tmp_path, pages, files)
    # In the order of the document; keys are made of paths.
    assert [file.stem for file in listing.files] == ["img/z", "img/a"]
    assert texts(listing) == {"img/z.jpg": ("text/FILE_7.xml",), "img/a.jpg": ("text/FILE_3.xml",)}
    assert meta(listing) == {
        "img/z.jpg": {"document": "book", "page": 1, "page_label": "i"},
        "img/a.jpg": {"document": "book", "page": 2},
    }
    assert listing.ignored == {}
    assert [*listing.texts_left.remarks()] == ["METS: 2 images of 2 pages are read (2 DEFAULT)"]
    assert {"mets.xml", "text/FILE_7.xml"} < listing.stamps.keys()


def test_one_image_of_a_page_is_read(tmp_path: Path) -> None:
    copies = {"THUMBS": "t/1.jpg", "MIN": "n/1.jpg", "MAX": "x/1.jpg", "DOWNLOAD": "p/1.pdf"}
    listing = listed(tmp_path, [({}, copies)], {path: b"x" for path in [*copies.values(), "other.jpg"]})
    assert [file.path for file in listing.files] == ["other.jpg", "x/1.jpg"]
    assert [*listing.texts_left.remarks()] == [
        "METS: 1 images of 1 pages are read (1 MAX)",
        "3 other files of these pages are not read (1 DOWNLOAD, 1 MIN, 1 THUMBS); --mets-image chooses",
    ]
    named = list_files(tmp_path, mets_groups=MetsGroups(images=("THUMBS",)))
    assert [file.path for file in named.files] == ["other.jpg", "t/1.jpg"]


def test_a_page_without_the_best_group_has_the_next(tmp_path: Path) -> None:
    pages: list[Page] = [({}, {"MAX": "x/1.jpg", "MIN": "n/1.jpg"}), ({}, {"MAX": "x/2.jpg", "MIN": "n/2.jpg"})]
    listing = listed(tmp_path, pages, dict.fromkeys(["x/1.jpg", "n/1.jpg", "n/2.jpg"], b"x"))
    assert [file.path for file in listing.files] == ["x/1.jpg", "n/2.jpg"]
    assert "files of METS that are not here: 1 MAX" in [*listing.texts_left.remarks()]


def test_a_pdf_of_all_pages_is_not_read_next_to_their_images(tmp_path: Path) -> None:
    put(tmp_path, ["a.jpg", "all.pdf"])
    put(tmp_path, {"mets.xml": mets([({}, {"MAX": "a.jpg"})], whole={"DOWNLOAD": "all.pdf"})})
    assert [file.path for file in list_files(tmp_path).files] == ["a.jpg"]
    (tmp_path / "a.jpg").unlink()
    assert [file.path for file in list_files(tmp_path).files] == ["all.pdf"]


def test_the_best_text(tmp_path: Path) -> None:
    files = {
        "IMG": "1.png",
        "OCR-D-SEG": "s/a.xml",
        "OCR-D-OCR": "o/b.xml",
        "OCR-D-GT-PAGE": "g/c.xml",
        "TEI": "t/d.xml",
    }
    content = {
        "1.png": b"x",
        "s/a.xml": PAGE_XML,
        "o/b.xml": HOCR,
        "g/c.xml": PAGE_XML,
        "t/d.xml": OTHER,
        "1.txt": b"x",
    }
    assert texts(listed(tmp_path, [({}, files)], content)) == {"1.png": ("g/c.xml",)}
    groups = MetsGroups(texts=("OCR-D-OCR",))
    assert texts(list_files(tmp_path, mets_groups=groups)) == {"1.png": ("o/b.xml",)}
    assert texts(list_files(tmp_path, text_from=["hocr"])) == {"1.png": ("o/b.xml",)}
    assert texts(list_files(tmp_path, text_from=["txt"])) == {"1.png": ()}
    assert texts(list_files(tmp_path, text_from=["s/"])) == {"1.png": ("s/a.xml",)}
    assert list_files(tmp_path).texts_left.unknown == (("t/d.xml", "a root element dc"),)
    assert dict(list_files(tmp_path).texts_left.unused) == {"hocr": 1, "page": 1, "txt": 1}


def test_an_image_of_two_pages_has_neither_text(tmp_path: Path) -> None:
    pages: list[Page] = [({}, {"MAX": "1.png", "ALTO": "a.xml"}), ({}, {"MAX": "1.png", "ALTO": "b.xml"})]
    listing = listed(tmp_path, pages, {"1.png": b"x", "a.xml": ALTO, "b.xml": ALTO})
    assert texts(listing) == {"1.png": ()}
    assert meta(listing) == {"1.png": {"document": "book", "page": 1}}
    assert "1 images show several pages of METS, whose texts are not used: each is of a part" in [
        *listing.texts_left.remarks()
    ]
    pages[1] = pages[0]
    assert texts(listed(tmp_path, pages, {})) == {"1.png": ("a.xml",)}, "one page that is named twice"


def test_two_images_of_one_group_have_the_texts_of_their_names(tmp_path: Path) -> None:
    data = mets([({}, {"MAX": "l.jpg", "OCR": "t.xml"})]).replace(
        b'<m:file ID="F0_MAX">', b'<m:file ID="r"><m:FLocat x:href="r.jpg"/></m:file><m:file ID="F0_MAX">'
    )
    data = data.replace(b'<m:fptr FILEID="F0_MAX"/>', b'<m:fptr FILEID="F0_MAX"/><m:fptr FILEID="r"/>')
    put(tmp_path, {"mets.xml": data, "l.jpg": b"x", "r.jpg": b"x", "l.xml": ALTO, "t.xml": ALTO})
    assert texts(list_files(tmp_path)) == {"l.jpg": ("l.xml",), "r.jpg": ()}


@pytest.mark.parametrize(
    ("href", "remark"),
    [
        (
            "https://example.org/1.jpg",
            "files of METS that are addresses, which are not fetched: 1 MAX; fetch them first",
        ),
        ("file:///etc/passwd", "1 paths in METS files lead out of RAW, as does file:///etc/passwd"),
        ("/etc/passwd", "1 paths in METS files lead out of RAW, as does /etc/passwd"),
        ("../../1.jpg", "1 paths in METS files lead out of RAW, as does ../../1.jpg"),
        ("C:\\scans\\1.jpg", "1 paths in METS files lead out of RAW, as does C:\\scans\\1.jpg"),
        ("%2e%2e/%2e%2e/1.jpg", "1 paths in METS files lead out of RAW, as does %2e%2e/%2e%2e/1.jpg"),
        ("gone.jpg", "files of METS that are not here: 1 MAX"),
        ("", "files of METS that are not here: 1 MAX"),
    ],
)
def test_files_that_are_not_here(tmp_path: Path, href: str, remark: str) -> None:
    put(tmp_path.parent, ["1.jpg"])
    listing = listed(tmp_path, [({}, {"MAX": href})], {"vol/1.jpg": b"x"}, "vol/mets.xml")
    assert meta(listing) == {"vol/1.jpg": {}}
    assert [*listing.texts_left.remarks()] == ["1 pages of METS files have no image here", remark]


@pytest.mark.parametrize("href", ["file://./a%20b/1.jpg", "a%20b\\1.jpg", "./x/../a b/1.jpg", "../vol/a b/1.jpg"])
def test_ways_to_write_a_path(tmp_path: Path, href: str) -> None:
    listing = listed(tmp_path, [({}, {"MAX": href})], {"vol/a b/1.jpg": b"x"}, "vol/METS.XML")
    assert meta(listing) == {"vol/a b/1.jpg": {"document": "book", "page": 1}}


def test_a_local_copy_counts_next_to_an_address(tmp_path: Path) -> None:
    data = mets([({}, {"MAX": "https://example.org/1.jpg"})]).replace(
        b"</m:file>", b'<m:FLocat LOCTYPE="OTHER" OTHERLOCTYPE="FILE" x:href="1.jpg"/></m:file>'
    )
    put(tmp_path, {"mets.xml": data, "1.jpg": b"x"})
    assert meta(list_files(tmp_path)) == {"1.jpg": {"document": "mets.xml", "page": 1}}


def test_damage_costs_the_mets_file_alone(tmp_path: Path) -> None:
    put(tmp_path, {"1.jpg": b"x", "1.xml": ALTO, "mets.xml": mets([({}, {"MAX": "1.jpg"})])[:-20]})
    listing = list_files(tmp_path)
    assert texts(listing) == {"1.jpg": ("1.xml",)}
    [(path, reason)] = listing.unreadable
    assert path == "mets.xml"
    assert reason.startswith("METS is not used: XML cannot be read")


def test_of_two_mets_files_the_first_counts(tmp_path: Path) -> None:
    put(tmp_path, ["1.jpg", "2.jpg"])
    put(
        tmp_path,
        {"a.mets.xml": mets([({}, {"MAX": "1.jpg"})]), "b_mets.xml": mets([({}, {"X": "2.jpg", "MIN": "1.jpg"})])},
    )
    assert meta(list_files(tmp_path)) == {
        "1.jpg": {"document": "a.mets.xml", "page": 1},
        "2.jpg": {"document": "b_mets.xml", "page": 1},
    }


def test_a_copy_of_a_mets_file_counts_after_it(tmp_path: Path) -> None:
    put(tmp_path, ["1.jpg"])
    put(tmp_path, {"mets.xml": mets([({}, {"MAX": "1.jpg"})], objid="new")})
    put(tmp_path, {"mets.bak.xml": mets([({}, {"MAX": "1.jpg"})], objid="old")})
    assert meta(list_files(tmp_path)) == {"1.jpg": {"document": "new", "page": 1}}


def test_a_group_that_is_nowhere_is_refused(tmp_path: Path) -> None:
    put(tmp_path, ["1.jpg"])
    with pytest.raises(ConfigError, match="--mets-image MAX: no METS file"):
        list_files(tmp_path, mets_groups=MetsGroups(images=("MAX",)))


def test_a_change_of_the_same_size_is_another_input(tmp_path: Path) -> None:
    first = listed(tmp_path, [({"ORDER": "1"}, {"MAX": "1.jpg"})], {"1.jpg": b"x"})
    second = listed(tmp_path, [({"ORDER": "2"}, {"MAX": "1.jpg"})], {})
    assert first.digest != second.digest
    (tmp_path / "mets.xml").unlink()
    assert list_files(tmp_path).digest not in (first.digest, second.digest)


def test_a_workspace_of_ocrd(tmp_path: Path) -> None:
    """examples/mets, whose METS file ocrd wrote, through make-shards: images, order, texts and metadata."""
    make_shards(ROOT / "examples/mets", tmp_path / "out", options=MakeShardsOptions(workers=1))
    shards = Shards.open(tmp_path / "out")
    pages = [shards.read_page(number) for number in range(2)]
    assert [page.key for page in pages] == ["OCR-D-IMG/IMG_B", "OCR-D-IMG/IMG_A"]
    assert [(page.meta["document"], page.meta["page"], page.meta["page_label"]) for page in pages] == [
        ("wdstream-example", 1, "1"),
        ("wdstream-example", 2, "2"),
    ]
    assert [page.meta["text_file"] for page in pages] == [
        "OCR-D-OCR-TESS/TESS_0001.xml",
        "OCR-D-OCR-TESS/TESS_0002.xml",
    ]


def test_a_book_of_a_library(tmp_path: Path) -> None:
    """The METS file of a book that a package has in its tests; its images stayed at the library."""
    put(tmp_path, {"mets.xml": (DATA / "texts/actevedef.mets.xml").read_bytes()})
    put(tmp_path, {"OCR-D-GT-PAGE/00000024.page.xml": PAGE_XML, "other.tif": b"x"})
    listing = list_files(tmp_path)
    assert meta(listing) == {"other.tif": {}}
    assert [*listing.texts_left.remarks()] == [
        "1 pages of METS files have no image here",
        "files of METS that are not here: 1 OCR-D-OCR-CALAMARI, 1 OCR-D-OCR-TESS",
        "1 text files have no page: OCR-D-GT-PAGE/00000024.page.xml",
    ]
    assert read_mets((tmp_path / "mets.xml").read_bytes()).name == "PPN718448162"
