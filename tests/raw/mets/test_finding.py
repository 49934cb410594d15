import sys
from pathlib import Path

import pytest

from wdstream.errors import ConfigError
from wdstream.raw.listing import list_files
from wdstream.raw.mets.finding import find_mets

METS = b'<?xml version="1.0"?><mets:mets xmlns:mets="http://www.loc.gov/METS/">'


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["mets.xml"], ["v/mets.xml"]),
        (["METS.XML", "PPN1_mets.xml", "meta.xml"], ["v/METS.XML", "v/PPN1_mets.xml", "v/meta.xml"]),
        (["PPN1.xml"], ["v/PPN1.xml"]),
        (["0001.xml"], []),  # called like a page: its text
        (["mets.json", "mets"], []),
        ([*(f"a{number}.xml" for number in range(9)), "mets.xml"], ["v/mets.xml"]),
    ],
)
def test_names_that_are_looked_at(names: list[str], expected: list[str]) -> None:
    found = find_mets("v/", names, {"0001"}, lambda path, num_bytes: METS)
    assert [*found] == expected


def test_the_content_decides() -> None:
    assert [*find_mets("", ["mets.xml"], set(), lambda path, num_bytes: b"<alto/>")] == []
    assert [*find_mets("", ["mets.xml"], set(), lambda path, num_bytes: b"")] == []


def test_without_lxml_a_job_ends_where_its_texts_are_plain_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mets.xml").write_bytes(METS + b"</mets:mets>")
    (tmp_path / "1.txt").write_text("one")
    (tmp_path / "1.png").write_bytes(b"")
    assert [file.path for file in list_files(tmp_path).files] == ["1.png"]
    monkeypatch.setitem(sys.modules, "lxml.etree", None)
    with pytest.raises(
        ConfigError, match=r"reading mets\.xml, a METS file that .* needs .*; run pip install 'wdstream\[xml\]'"
    ):
        list_files(tmp_path)
