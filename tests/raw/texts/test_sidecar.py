import os
from pathlib import Path

import pytest

from wdstream.errors import SourceError
from wdstream.raw.reading import reading
from wdstream.raw.registry import known_suffixes
from wdstream.raw.settings import RawSettings
from wdstream.raw.texts.sidecar import Sidecars


def text_of(texts: Sidecars, page: int) -> str | None:
    found = texts.text(page)
    assert found is None or found.meta == {"text_from": "text file"}
    return found.text if found else None


def sidecars(path: Path, num_pages: int) -> Sidecars:
    return Sidecars(path, known_suffixes(), num_pages)


def test_one_page(tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_bytes("\ufeffline one\r\nline two\r\n\f".encode())
    assert text_of(sidecars(tmp_path / "x.tif", 1), 1) == "line one\nline two"
    (tmp_path / "x.tif.txt").write_text("its own")
    assert text_of(sidecars(tmp_path / "x.tif", 1), 1) == "its own"
    assert text_of(sidecars(tmp_path / "y.tif", 1), 1) is None


def test_suffixes_in_capitals(tmp_path: Path) -> None:
    """As scanners and old systems write them; they were found for the listing, and not read."""
    (tmp_path / "X.TXT").write_text("all")
    (tmp_path / "X.2.TXT").write_text("two")
    for listed in (None, ("X.2.TXT", "X.TXT")):
        texts = Sidecars(tmp_path / "X.TIF", known_suffixes(), 1, listed)
        assert [text_of(texts, page) for page in (1, 2)] == ["all", "two"]
    (tmp_path / "X.txt").write_text("the first")
    texts = Sidecars(tmp_path / "X.TIF", known_suffixes(), 1, ("X.2.TXT", "X.TXT", "X.txt"))
    assert text_of(texts, 1) == "the first"


def test_pages_by_form_feed_and_by_number(tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_text("one\n\ftwo\n\f\fnot reached")
    (tmp_path / "x.2.txt").write_text("two, better")
    texts = sidecars(tmp_path / "x.pdf.gz", 4)
    assert [text_of(texts, page) for page in (1, 2, 3, 4)] == ["one", "two, better", "", "not reached"]


def test_a_count_that_does_not_match_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_text("one\ftwo\f")
    with pytest.raises(SourceError, match=r"x\.txt holds the text of 2 pages .* x\.tif has 3 pages"):
        text_of(sidecars(tmp_path / "x.tif", 3), 1)


def test_a_name_as_long_as_names_can_be(tmp_path: Path) -> None:
    name = "x" * 251
    (tmp_path / f"{name}.txt").write_text("its text")
    assert text_of(sidecars(tmp_path / f"{name}.tif", 1), 1) == "its text", "no name has room for .1.txt"
    assert text_of(sidecars(tmp_path / f"{'y' * 251}.tif", 1), 1) is None


def test_a_link_that_leads_out_and_a_text_that_is_too_long(tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    (tmp_path / "secret.txt").write_text("not for the shards")
    (tmp_path / "raw/x.txt").symlink_to("../secret.txt")
    texts = sidecars(tmp_path / "raw/x.tif", 1)
    with (
        reading(tmp_path / "raw", RawSettings()),
        pytest.raises(
            SourceError, match=r"x\.txt is a link that leads out of the folder; allow it with --allow-outside-links"
        ),
    ):
        text_of(texts, 1)
    with reading(tmp_path / "raw", RawSettings(allow_outside_links=True)) as read:
        assert text_of(texts, 1) == "not for the shards"
        assert [*read.take()] == ["x.txt"]
    (tmp_path / "raw/x.txt").unlink()
    (tmp_path / "raw/x.txt").write_text("long")
    with (
        reading(tmp_path / "raw", RawSettings(max_text_bytes=3)),
        pytest.raises(SourceError, match=r"x\.txt of 4 bytes is above the limit of 3 \(--max-text-bytes\)"),
    ):
        text_of(sidecars(tmp_path / "raw/x.tif", 1), 1)


def test_a_text_that_cannot_be_opened_is_the_page_s_trouble(tmp_path: Path) -> None:
    (tmp_path / "x.txt").symlink_to("x.txt")
    assert text_of(sidecars(tmp_path / "x.tif", 1), 1) is None
    (tmp_path / "y.txt").write_text("text")
    (tmp_path / "y.txt").chmod(0)
    if os.geteuid():
        with pytest.raises(SourceError, match="Permission denied"):
            text_of(sidecars(tmp_path / "y.tif", 1), 1)


def test_not_utf8(tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_bytes(b"caf\xe9")
    with pytest.raises(SourceError, match=r"x\.txt is not UTF-8 \(byte 3\); convert it"):
        text_of(sidecars(tmp_path / "x.png", 1), 1)


def test_what_was_listed_is_not_looked_for(tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_text("its text")
    (tmp_path / "x.1.txt").write_text("of page 1")
    path = tmp_path / "x.tif"
    assert text_of(Sidecars(path, known_suffixes(), 1, ["x.txt"]), 1) == "its text"
    assert text_of(Sidecars(path, known_suffixes(), 1, ["x.txt", "x.1.txt"]), 1) == "of page 1"
    assert text_of(Sidecars(path, known_suffixes(), 1, []), 1) is None
    assert text_of(Sidecars(path, known_suffixes(), 1, ["x.tif.txt"]), 1) is None, "gone since"


def test_a_text_that_cannot_be_read_is_named_and_not_its_image(tmp_path: Path) -> None:
    """A file of the system that is regular, and fails when it is read."""
    (tmp_path / "a.txt").symlink_to("/proc/self/mem")
    settings = RawSettings(allow_outside_links=True)
    with reading(tmp_path, settings), pytest.raises(SourceError, match=r"^text file a\.txt: file cannot be read: "):
        Sidecars(tmp_path / "a.png", (".png",), 1, ("a.txt",)).text(1)
    (tmp_path / "b.txt").write_bytes(b"x" * 100)
    small = settings.model_copy(update={"max_text_bytes": 10})
    with reading(tmp_path, small), pytest.raises(SourceError, match=r"^b\.txt of 100 bytes is above"):
        Sidecars(tmp_path / "b.png", (".png",), 1, ("b.txt",)).text(1)
