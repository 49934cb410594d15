from pathlib import Path

import pytest

from wdstream.errors import SourceError
from wdstream.raw.registry import known_suffixes
from wdstream.raw.sidecar import Sidecars


def sidecars(path: Path, num_pages: int) -> Sidecars:
    return Sidecars(path, known_suffixes(), num_pages)


def test_one_page(tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_bytes("\ufeffline one\r\nline two\r\n\f".encode())
    assert sidecars(tmp_path / "x.tif", 1).text(1) == "line one\nline two"
    (tmp_path / "x.tif.txt").write_text("its own")
    assert sidecars(tmp_path / "x.tif", 1).text(1) == "its own"
    assert sidecars(tmp_path / "y.tif", 1).text(1) is None


def test_pages_by_form_feed_and_by_number(tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_text("one\n\ftwo\n\f\fnot reached")
    (tmp_path / "x.2.txt").write_text("two, better")
    texts = sidecars(tmp_path / "x.pdf.gz", 4)
    assert [texts.text(page) for page in (1, 2, 3, 4)] == ["one", "two, better", "", "not reached"]


def test_a_count_that_does_not_match_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_text("one\ftwo\f")
    with pytest.raises(SourceError, match=r"x\.txt holds the text of 2 pages .* x\.tif has 3 pages"):
        sidecars(tmp_path / "x.tif", 3).text(1)


def test_not_utf8(tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_bytes(b"caf\xe9")
    with pytest.raises(SourceError, match=r"x\.txt is not UTF-8 \(byte 3\); convert it"):
        sidecars(tmp_path / "x.png", 1).text(1)
