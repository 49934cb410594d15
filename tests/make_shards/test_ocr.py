"""Scans without text through make-shards: read where nothing else says their text, and only where it is asked for.

Spans: make_shards, raw.
"""

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pikepdf
import pytest
from pikepdf import Name
from PIL import Image

from tests.raw.ocr.test_rapid import written
from wdstream.errors import ConfigError
from wdstream.make_shards import MakeShardsOptions, make_shards
from wdstream.make_shards.manifest import JOB_FILE
from wdstream.records import Page, TextSegment
from wdstream.shards.reader import Shards


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A scan, one with a text file, one whose text file is empty, a blank page, a PDF of a scan, a TIFF of two."""
    folder = tmp_path_factory.mktemp("raw")
    scan = Image.fromarray(written("Invoice 4711", "Thank you"))
    for name in ("scan.png", "told.png", "untold.png"):
        scan.save(folder / name)
    (folder / "told.txt").write_text("what the file says")
    (folder / "untold.txt").write_text("\n")
    Image.new("RGB", (200, 200), "white").save(folder / "blank.png")
    first, blank = Image.fromarray(written("Invoice 4711", "Thank you")), Image.new("RGB", (200, 200), "white")
    first.save(folder / "pages.tif", save_all=True, append_images=[blank])
    scan.save(folder / "drawn.pdf", resolution=75)
    return folder


def options(**settings: Any) -> MakeShardsOptions:
    return MakeShardsOptions(workers=1, **settings)


def pages(out: Path) -> dict[str, Page]:
    shards = Shards.open(out)
    found = [shards.read_page(row) for row in range(len(shards))]
    return {page.key: page for page in found}


def quarantine(out: Path) -> dict[str, str]:
    lines = (out / "quarantine.jsonl").read_text().splitlines()
    return {f"{entry['file']} {entry['page'] or ''}".strip(): entry["reason"] for entry in map(json.loads, lines)}


def written_files(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in out.iterdir() if path.is_file()}


def test_pages_without_text_are_read_when_they_are_tried_again(raw: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    make_shards(raw, out, options=options())
    assert sorted(pages(out)) == ["told"]
    assert quarantine(out)["scan.png"] == "no text: no text file beside it"
    make_shards(raw, out, options=options(ocr="rapidocr", retry_quarantined=True))
    found = pages(out)
    assert sorted(found) == ["drawn@0001", "pages@0001", "scan", "told", "untold"]
    texts = {
        key: [segment.text for segment in page.segments if hasattr(segment, "text")] for key, page in found.items()
    }
    assert texts.pop("told") == ["what the file says"]
    assert set(map(tuple, texts.values())) == {("Invoice 4711\nThank you",)}
    assert found["told"].meta == {"source": "told.png"}
    meta = dict(found["drawn@0001"].meta)
    boxes = meta.pop("line_boxes")
    assert isinstance(boxes, list) and len(boxes) == 2
    assert meta.pop("text_confidence") > 0.8
    assert str(meta.pop("text_from")).startswith("ocr:rapidocr 3.")
    assert meta == {"source": "drawn.pdf", "page": 1, "ocr_lines": 2, "script": "Latn"}
    blank = "no text: rapidocr reads none on the picture that it is sure of"
    assert quarantine(out) == {"blank.png": blank, "pages.tif 2": blank}

    manifest = json.loads((out / JOB_FILE).read_text())
    assert manifest["options"]["ocr_engine"].startswith("rapidocr 3.")
    manifest["options"]["ocr_engine"] = "rapidocr 3.0.0, onnxruntime 1.20.0, models 0123456789ab"
    (out / JOB_FILE).write_text(json.dumps(manifest))
    with pytest.raises(ConfigError, match=r"ocr_engine was 'rapidocr 3.0.0, .*', is 'rapidocr 3."):
        make_shards(raw, out, options=options(ocr="rapidocr"))
    with pytest.raises(ConfigError, match="ocr was 'rapidocr', is None"):
        make_shards(raw, out, options=options(retry_quarantined=True))


def test_what_the_job_needs_is_asked_for_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "raw").mkdir()
    Image.new("L", (9, 9)).save(tmp_path / "raw" / "scan.png")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigError, match="--ocr-language deu: rapidocr reads all languages"):
        make_shards(tmp_path / "raw", tmp_path / "out", options=options(ocr="rapidocr", ocr_language="deu"))
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_the_same_bytes_from_any_number_of_workers(raw: Path, tmp_path: Path) -> None:
    """And from a job without OCR that is tried again with it."""
    chosen: dict[str, Any] = {"ocr": "rapidocr", "pages_per_shard": 2}
    make_shards(raw, tmp_path / "later", options=MakeShardsOptions(workers=1, pages_per_shard=2))
    make_shards(raw, tmp_path / "later", options=MakeShardsOptions(**chosen, retry_quarantined=True, workers=2))
    for workers in (1, 3):
        make_shards(raw, tmp_path / str(workers), options=MakeShardsOptions(**chosen, workers=workers))
    one, three, later = (written_files(tmp_path / name) for name in ("1", "3", "later"))
    assert one == three == later and len(one) > 6


def pdf_of_scan(file: Path, text: str, *, is_mapped: bool = True) -> None:
    """A PDF of a scan with a small text at its lower left side, in a font with or without a meaning of its codes."""
    Image.fromarray(written("Invoice 4711", "Thank you")).save(file, resolution=75)
    with pikepdf.open(file, allow_overwriting_input=True) as pdf:
        font = pikepdf.Dictionary(Type=Name.Font, Subtype=Name.Type1, BaseFont=Name.Helvetica)
        if not is_mapped:
            names = [Name(f"/g{code}") for code in range(32, 127)]
            font.Encoding = pikepdf.Dictionary(Type=Name.Encoding, Differences=[32, *names])
        pdf.pages[0].Resources.Font = pikepdf.Dictionary(F1=pdf.make_indirect(font))
        pdf.pages[0].contents_add(f"q BT /F1 8 Tf 200 8 Td ({text}) Tj ET Q".encode())
        pdf.save(file)


def test_layers_that_are_a_stamp_or_no_text_and_pictures_of_tars_and_rows_are_read(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    raw.mkdir()
    pdf_of_scan(raw / "stamp.pdf", "12")
    pdf_of_scan(raw / "unmapped.pdf", "some words that mean nothing", is_mapped=False)
    scan = io.BytesIO()
    Image.fromarray(written("Invoice 4711", "Thank you")).save(scan, "PNG")
    with tarfile.open(raw / "tar.tar", "w") as tar:
        for name, data in {"a.png": scan.getvalue(), "b.png": scan.getvalue(), "b.txt": b"told"}.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    (raw / "rows.jsonl").write_text('{"image": "a.png", "text": "", "year": 1910}\n')
    (raw / "a.png").write_bytes(scan.getvalue())
    make_shards(raw, tmp_path / "out", options=options(ocr="rapidocr"))
    found = pages(tmp_path / "out")
    texts = {key: page.segments[1].text for key, page in found.items() if isinstance(page.segments[1], TextSegment)}
    read = "Invoice 4711\nThank you"
    assert texts.pop("stamp@0001").replace("\n", " ").startswith("Invoice 4711 Thank you")
    assert texts == {"rows@000001": read, "tar@a": read, "tar@b": "told", "unmapped@0001": texts["unmapped@0001"]}
    assert texts["unmapped@0001"].startswith("Invoice 4711")
    assert found["rows@000001"].meta["year"] == 1910
    for key in ("stamp@0001", "unmapped@0001", "tar@a", "rows@000001"):
        assert str(found[key].meta["text_from"]).startswith("ocr:rapidocr 3.") and "line_boxes" in found[key].meta


@pytest.mark.parametrize("setting", [{"ocr_language": "eng"}, {"min_ocr_confidence": 0.5}])
def test_settings_of_an_engine_without_one_are_refused(setting: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="no picture is read without --ocr rapidocr or --ocr tesseract"):
        options(**setting)
