"""The examples of tars and of a plugin, read as their READMEs say."""

from pathlib import Path

import pytest

from tests.helpers.paths import DATA, ROOT
from tests.helpers.raw_pages import read_raw
from wdstream.raw.plugins.active import plugged_in

EXAMPLES = ROOT / "examples"


def test_webdataset() -> None:
    found = read_raw(EXAMPLES / "webdataset")
    assert not found.refused
    assert found.listing.ignored == {".md": 1, "next to tars or folders, with what is in them": 2}
    names = ("tesseract-phototest-rotated-L.png", "leptonlib-harmoniam-11.tif")
    files = [DATA / "pages/images" / name for name in names]
    assert [page.images for page in found.pages.values()] == [(file.read_bytes(),) for file in files]
    assert list(found.texts.values()) == [file.with_suffix(".txt").read_text().strip("\n") for file in files]
    assert found.pages["00000@000000001"].meta["language"] == "en"


def test_pdfa() -> None:
    found = read_raw(EXAMPLES / "pdfa")
    assert not found.refused
    keys = ["pdfa-eng-0000@0000001@0001", *(f"pdfa-eng-0000@0000002@000{number}" for number in (1, 2, 3))]
    assert list(found.pages) == keys
    assert [found.texts[key] for key in keys[1:]] == ["Page1", "Page2", "Page3"]
    layer = read_raw(EXAMPLES / "pdfa", document_text="layer")
    assert found.texts[keys[0]].split() == layer.texts[keys[0]].split()
    assert layer.pages[keys[0]].images == found.pages[keys[0]].images


def test_plugin(monkeypatch: pytest.MonkeyPatch) -> None:
    folder: Path = EXAMPLES / "plugin"
    monkeypatch.syspath_prepend(folder)
    with plugged_in([".tsv=tesseract_tsv:read_tsv"]):
        found = read_raw(folder / "raw")
    assert not found.refused
    (page,) = found.pages.values()
    assert found.texts["phototest@000001"].startswith("This is a lot of 12 point text to test the\n")
    assert page.images == ((folder / "raw/phototest.png").read_bytes(),)
    assert 0.9 < float(str(page.meta["text_confidence"])) <= 1
