"""What an engine read becomes the text of a page, with where its lines are in the stored picture."""

import io

import numpy as np
import pytest
from PIL import Image

from wdstream.errors import SourceError
from wdstream.raw.ocr import PictureText, pictures
from wdstream.raw.ocr.pictures import text_in_picture
from wdstream.raw.settings import RawSettings
from wdstream.raw.source import StoredImage
from wdstream.raw.texts.page_text import TextLine
from wdstream.records import Pixels


class ReadsTwoLines:
    """An engine that takes pictures of 100 pixels a side."""

    name, identity, max_side, least_confidence = "reader 1.0", "reader 1.0", 100, 0.6

    def __init__(self) -> None:
        self.sizes: list[tuple[int, ...]] = []

    def read(self, pixels: Pixels) -> PictureText:
        self.sizes.append(pixels.shape)
        lines = (TextLine(text="ﬁrst ", box=(10, 10, 60, 20)), TextLine(text="\u0007second", box=(10, 30, 90, 40)))
        return PictureText(blocks=((lines[0],), (lines[1],)), confidences=(0.5, 0.8), unsure=3)


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> ReadsTwoLines:
    engine = ReadsTwoLines()
    monkeypatch.setattr(pictures, "open_ocr", lambda _: engine)
    return engine


def stored(width: int, height: int, mode: str = "L") -> StoredImage:
    buffer = io.BytesIO()
    Image.fromarray(np.full((height, width), 200, np.uint8)).convert(mode).save(buffer, "PNG")
    return StoredImage(data=buffer.getvalue(), extension="png", size=(width, height))


def test_large_pictures_are_read_small_and_boxes_are_of_the_stored_one(engine: ReadsTwoLines) -> None:
    image = stored(400, 200)
    found = text_in_picture(image, RawSettings(ocr="rapidocr"))
    assert engine.sizes == [(50, 100, 3)]
    assert found.text == "first\n\nsecond"
    assert found.on_image(image.size) == {
        "text_from": "ocr:reader 1.0",
        "text_confidence": 0.65,
        "ocr_lines": 2,
        "script": "Latn",
        "text_dropped": {"unsure": 3},
        "line_boxes": [[40, 40, 240, 80], [40, 120, 360, 160]],
    }


@pytest.mark.parametrize(
    ("size", "read"), [((100, 100), (100, 100, 3)), ((9, 20000), (100, 1, 3)), ((1, 1), (1, 1, 3))]
)
def test_shapes(engine: ReadsTwoLines, size: tuple[int, int], read: tuple[int, ...]) -> None:
    text_in_picture(stored(*size, mode="RGB"), RawSettings(ocr="rapidocr"))
    assert engine.sizes == [read]


def test_a_page_below_the_wanted_confidence_is_refused_with_the_figure(engine: ReadsTwoLines) -> None:
    assert text_in_picture(stored(9, 9), RawSettings(ocr="rapidocr", min_ocr_confidence=0.65)).text
    with pytest.raises(SourceError, match=r"not read well: reader 1.0 says 0.65 \(at least 0.66 expected"):
        text_in_picture(stored(9, 9), RawSettings(ocr="rapidocr", min_ocr_confidence=0.66))
    engine.least_confidence = 0.7
    with pytest.raises(SourceError, match=r"\(at least 0.7 expected, --min-ocr-confidence\)"):
        text_in_picture(stored(9, 9), RawSettings(ocr="rapidocr"))
    assert text_in_picture(stored(9, 9), RawSettings(ocr="rapidocr", min_ocr_confidence=0)).text
