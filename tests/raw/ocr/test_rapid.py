"""RapidOCR itself, on one small picture; never by the network."""

import socket
from importlib.metadata import PackagePath
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from wdstream.errors import ConfigError, SourceError
from wdstream.raw.ocr import rapid
from wdstream.raw.ocr.rapid import RapidEngine
from wdstream.records import Pixels


def written(*lines: str) -> Pixels:
    """Lines of print, 40 pixels apart."""
    image = Image.new("RGB", (420, 30 + 40 * len(lines)), "white")
    for number, text in enumerate(lines):
        ImageDraw.Draw(image).text((16, 12 + 40 * number), text, fill="black", font=ImageFont.load_default(24))
    return np.asarray(image)


def no_network(*_: object) -> None:
    raise AssertionError("the network was asked")


def test_reads_without_network_the_same_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "socket", no_network)
    monkeypatch.setattr(socket, "getaddrinfo", no_network)
    engine = RapidEngine()
    picture = written("Total due: 1,262.35", "Thank you for paying")
    read = engine.read(picture)
    assert [line.text for block in read.blocks for line in block] == ["Total due: 1,262.35", "Thank you for paying"]
    assert len(read.confidences) == 2 and min(read.confidences) > 0.8 and not read.unsure
    box = read.blocks[0][0].box
    assert box is not None and box[0] < 20 and 200 < box[2] < 320 and box[1] < 20 and 30 < box[3] < 60
    assert engine.read(picture) == read
    assert not engine.read(np.full((60, 80, 3), 255, np.uint8)).blocks
    assert engine.name.startswith("rapidocr 3.") and engine.name in engine.identity and "models " in engine.identity


def test_models_that_are_gone_are_not_fetched(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    class Gone(PackagePath):
        def locate(self) -> Path:
            return tmp_path / self.name

    shipped = [Gone("rapidocr/models/a_det_b.onnx"), Gone("rapidocr/models/a_rec_b.onnx")]
    monkeypatch.setattr(rapid, "files", lambda _: shipped)
    with pytest.raises(ConfigError, match=r"lacks its models \(Det, Cls, Rec\), and nothing is fetched"):
        RapidEngine()
    from rapidocr.utils.download_file import DownloadFile

    with pytest.raises(ConfigError, match="none is fetched from the network"):
        DownloadFile.run(None)


def test_pictures_upside_down_and_strips() -> None:
    engine = RapidEngine()
    picture = written("Total due: 1,262.35", "Thank you for paying", "by the seventh of May")
    with pytest.raises(SourceError, match="100% of the 3 lines that were read are upside down"):
        engine.read(np.ascontiguousarray(picture[::-1, ::-1]))
    line = np.concatenate([picture[8:44], np.full((36, 1200, 3), 255, np.uint8)], axis=1)
    assert [line.text for block in engine.read(line).blocks for line in block] == ["Total due: 1,262.35"]
    for height, width in ((2000, 3), (3, 2000), (1, 1)):
        assert not engine.read(np.full((height, width, 3), 255, np.uint8)).blocks
