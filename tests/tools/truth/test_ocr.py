"""tools/truth/ocr.py: the engine's table, pictures of all modes, and an engine that is not there."""

import io
from pathlib import Path

import pytest
from PIL import Image, ImageDraw, ImageFont

from tests.tools.truth.engine import needs_tesseract
from truth import ocr
from truth.ocr import Engine, View, reading_of
from wdstream.errors import ConfigError

TABLE = """level\tpage_num\tblock_num\tpar_num\tline_num\tword_num\tleft\ttop\twidth\theight\tconf\ttext
1\t1\t0\t0\t0\t0\t0\t0\t1000\t500\t-1\t
4\t1\t1\t1\t1\t0\t100\t50\t400\t25\t-1\t
5\t1\t1\t1\t1\t1\t100\t50\t200\t25\t96.5\tWell-known
5\t1\t1\t1\t1\t2\t400\t50\t100\t25\t12.0\t"tab\tle"
5\t1\t1\t1\t2\t1\t100\t100\t100\t25\t91.0\t...
"""


def test_the_table_of_words() -> None:
    reading = reading_of(TABLE)
    assert reading.words == ("well", "known", "tab", "le")
    assert reading.confidence == (96.5, 96.5, 12.0, 12.0)
    assert reading.boxes[0] == (0.1, 0.1, 0.3, 0.15)
    assert reading.text == 'Well-known "tab\tle"\n...'
    assert reading_of("").words == ()


def picture(text: str, mode: str = "RGB", turn: int = 0) -> bytes:
    image = Image.new("L", (900, 200), 255)
    ImageDraw.Draw(image).text((30, 70), text, font=ImageFont.load_default(36), fill=0)
    image = image.rotate(turn, expand=True)
    if mode == "LA":
        image = Image.merge("LA", (Image.new("L", image.size, 0), image.point(lambda grey: 255 - grey)))
    out = io.BytesIO()
    image.convert(mode).save(out, "PNG")
    return out.getvalue()


@needs_tesseract
@pytest.mark.parametrize("mode", ["RGB", "L", "1", "P", "LA"])
def test_pictures_of_every_mode_are_read(mode: str) -> None:
    assert Engine().read(picture("Invoice number 4711", mode), "eng").words == ("invoice", "number", "4711")


@needs_tesseract
def test_a_turned_picture_is_read_when_it_is_turned_back() -> None:
    on_its_side = picture("Invoice number 4711", turn=90)
    assert Engine().read(on_its_side, "eng", View(turn=270)).words == ("invoice", "number", "4711")


@needs_tesseract
def test_a_reading_is_kept_by_picture_and_view(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = Engine(tmp_path)
    first = engine.read(picture("Invoice number 4711"), "eng")
    monkeypatch.setattr(ocr, "ENGINE", "no-such-engine")
    assert engine.read(picture("Invoice number 4711"), "eng") == first
    for other in (("eng", View(mode=6)), ("eng+deu", View())):
        with pytest.raises(OSError, match="no-such-engine"):
            engine.read(picture("Invoice number 4711"), *other)


@needs_tesseract
def test_what_the_engine_says_is_one_line() -> None:
    with pytest.raises(ConfigError, match="tesseract -l xyz --psm 3: exit status 1: "):
        Engine().read(picture("Invoice"), "xyz")
    assert Engine().lacking("eng+xyz") == ["xyz"]
