from pathlib import Path

import pytest

from tests.helpers.mets_files import mets
from wdstream.errors import SourceError
from wdstream.raw.mets.document import MetsDocument, read_mets

HEAD = b'<mets xmlns="http://www.loc.gov/METS/" xmlns:xlink="http://www.w3.org/1999/xlink"'


def shown(document: MetsDocument) -> list[tuple[int, str, list[tuple[str, tuple[str, ...]]]]]:
    return [(page.order, page.label, [(file.group, file.hrefs) for file in page.files]) for page in document.pages]


def test_pages_by_their_order() -> None:
    data = mets(
        [({"ORDER": "2", "ORDERLABEL": " ii "}, {"MAX": "b.jpg"}), ({"ORDER": "1"}, {"MAX": "a.jpg", "ALTO": "a.xml"})],
        objid="book",
        whole={"DOWNLOAD": "book.pdf"},
    )
    document = read_mets(data)
    assert document.name == "book"
    assert shown(document) == [
        (1, "", [("MAX", ("a.jpg",)), ("ALTO", ("a.xml",))]),
        (2, "ii", [("MAX", ("b.jpg",))]),
    ]
    assert [file.hrefs for file in document.whole] == [("book.pdf",)]


def test_orders_that_do_not_number_the_pages() -> None:
    orders = [{"ORDER": "1"}, {"ORDER": "1"}, {}, {"ORDER": "x"}]
    data = mets([(order, {"MAX": f"{number}.jpg"}) for number, order in enumerate(orders)])
    assert [(page.order, page.files[0].hrefs[0]) for page in read_mets(data).pages] == [
        (1, "0.jpg"),
        (2, "1.jpg"),
        (3, "2.jpg"),
        (4, "3.jpg"),
    ]


def test_a_name_is_the_identifier_of_the_work() -> None:
    assert read_mets(mets([], mods=" PPN\n1 ")).name == "PPN 1"
    assert read_mets(HEAD + b' LABEL="A  label"/>').name == "A label"
    assert read_mets(HEAD + b"/>").name == ""


def test_groups_of_newspapers_that_files_name_themselves() -> None:
    data = HEAD + (
        b'><fileSec><fileGrp ID="pageFileGrp1"><file ID="m" USE="master"><FLocat xlink:href="1.tif"/></file>'
        b'<file ID="o" USE="ocr"><FLocat xlink:href="1.xml"/></file></fileGrp><fileGrp ID="G2"><file ID="x"/></fileGrp>'
        b'</fileSec><structMap><div TYPE="np:issue"><div TYPE="np:page"><fptr FILEID="m"/><fptr FILEID="o"/>'
        b'<fptr FILEID="x"/></div></div></structMap></mets>'
    )
    assert shown(read_mets(data)) == [(1, "", [("master", ("1.tif",)), ("ocr", ("1.xml",)), ("G2", ())])]


def test_areas_and_parts_of_pages() -> None:
    data = HEAD + (
        b'><fileSec><fileGrp USE="Images"><file ID="i"><FLocat xlink:href="file://./1.tif"/></file></fileGrp>'
        b'<fileGrp USE="Text"><file ID="t"><FLocat xlink:href="1.xml"/></file></fileGrp></fileSec>'
        b'<structMap TYPE="PHYSICAL"><div><div TYPE="PAGE"><fptr><par><area FILEID="i"/><area FILEID="t"/></par></fptr>'
        b'<div TYPE="block"><fptr><area FILEID="t" BEGIN="b1"/></fptr></div></div></div></structMap></mets>'
    )
    assert shown(read_mets(data)) == [(1, "", [("Images", ("file://./1.tif",)), ("Text", ("1.xml",))])]


def test_parts_without_a_type_are_pages_where_they_have_files_alone() -> None:
    data = HEAD + (
        b'><fileSec><fileGrp USE="I"><file ID="a"><FLocat xlink:href="a.tif"/></file><file ID="all"/></fileGrp>'
        b'</fileSec><structMap TYPE="logical"><div><fptr FILEID="all"/></div></structMap>'
        b'<structMap><div><fptr FILEID="all"/><div><fptr FILEID="a"/><fptr FILEID="gone"/></div></div>'
        b"</structMap></mets>"
    )
    document = read_mets(data)
    assert shown(document) == [(1, "", [("I", ("a.tif",))])]
    assert [file.hrefs for file in document.whole] == [()]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"<mets", "XML cannot be read"),
        (b'<!DOCTYPE mets [<!ENTITY e "x">]><mets>&e;</mets>', "entities"),
        (b'<!DOCTYPE mets SYSTEM "http://localhost/a.dtd"><mets>&e;</mets>', "Entity|entities"),
        (b"<alto/>", "expected METS, found a root element alto"),
        (HEAD + b">" + b"<div>" * 5000 + b"</div>" * 5000 + b"</mets>", "depth"),
    ],
)
def test_what_is_refused(data: bytes, expected: str) -> None:
    with pytest.raises(SourceError, match=expected):
        read_mets(data)


def test_a_newspaper_of_a_library(tmp_path: Path) -> None:
    """Volumes and issues number their pages from 1 again: the order of the file counts."""
    parts = "".join(f'<div TYPE="issue"><div TYPE="page" ORDER="1"><fptr FILEID="f{n}"/></div></div>' for n in range(3))
    files = "".join(f'<file ID="f{n}"><FLocat xlink:href="{9 - n}.tif"/></file>' for n in range(3))
    data = (
        HEAD
        + (
            f'><fileSec><fileGrp USE="M">{files}</fileGrp></fileSec><structMap TYPE="physical"><div>{parts}</div>'
            "</structMap></mets>"
        ).encode()
    )
    assert [(page.order, page.files[0].hrefs) for page in read_mets(data).pages] == [
        (1, ("9.tif",)),
        (2, ("8.tif",)),
        (3, ("7.tif",)),
    ]
