"""Tesseract as a process: its table, what is missing, and a picture where the program is installed."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.raw.ocr.test_rapid import written
from wdstream.errors import ConfigError, SourceError
from wdstream.make_shards.build import GivingUp, _reason
from wdstream.raw.ocr import tesseract
from wdstream.raw.ocr.tesseract import TesseractEngine, reading_of_tsv
from wdstream.raw.texts.page_text import TextLine

TABLE = """level\tpage_num\tblock_num\tpar_num\tline_num\tword_num\tleft\ttop\twidth\theight\tconf\ttext
1\t1\t0\t0\t0\t0\t0\t0\t640\t480\t-1\t
2\t1\t1\t0\t0\t0\t36\t92\t582\t269\t-1\t
3\t1\t1\t1\t0\t0\t36\t92\t582\t92\t-1\t
4\t1\t1\t1\t1\t0\t36\t92\t544\t30\t-1\t
5\t1\t1\t1\t1\t1\t36\t92\t60\t24\t95.5\tThis
5\t1\t1\t1\t1\t2\t109\t92\t20\t24\t84.5\tis
4\t1\t1\t1\t2\t0\t36\t126\t300\t30\t-1\t
5\t1\t1\t1\t2\t1\t36\t126\t60\t24\t90\ttext.
4\t1\t2\t1\t1\t0\t40\t300\t100\t30\t-1\t
5\t1\t2\t1\t1\t1\t40\t300\t100\t24\t10\t\u00a0
5\t1\t2\t1\t2\t1\t40\t340\t100\t24\t-1\t"q
truncated\t1
"""


@pytest.fixture(autouse=True)
def _asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    tesseract._installed.cache_clear()


def test_table() -> None:
    read = reading_of_tsv(TABLE)
    assert read.blocks == (
        (
            TextLine(text="This is", box=(36.0, 92.0, 580.0, 122.0)),
            TextLine(text="text.", box=(36.0, 126.0, 336.0, 156.0)),
        ),
        (TextLine(text='"q', box=None),),
    )
    assert read.confidences == (0.955, 0.845, 0.9, 0.0)
    assert reading_of_tsv("").blocks == ()


def test_no_program_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigError, match=r"the program tesseract cannot be run .*use --ocr rapidocr") as missing:
        TesseractEngine("eng")
    assert "\n" not in str(missing.value)


def fake_program(folder: Path, script: str) -> None:
    """A program of that name which answers what tesseract's options ask."""
    file = folder / "tesseract"
    file.write_text(
        '#!/bin/sh\ncase "$1" in\n--version) echo "tesseract 5.3.0";;\n'
        f"--list-langs) printf 'List of available languages in \"{folder}/\" (1):\\neng\\n';;\n*) {script};;\nesac\n"
    )
    file.chmod(0o755)


def test_languages_and_failures(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fake_program(tmp_path, "cat > /dev/null; printf 'Error\\nout \\033[31mof order\\n' >&2; exit 3")
    (tmp_path / "eng.traineddata").write_bytes(b"data")
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    with pytest.raises(ConfigError, match=r"tesseract has no data for xyz \(it has eng\); install it") as lacking:
        TesseractEngine("eng+xyz")
    assert "\n" not in str(lacking.value)
    engine = TesseractEngine("eng")
    assert (engine.name, engine.identity) == ("tesseract 5.3.0", "tesseract 5.3.0, eng 3a6eb0790f39")
    with pytest.raises(SourceError, match=r"exit status 3, out ␛\[31mof order"):
        engine.read(np.zeros((4, 4, 3), np.uint8))


def test_a_program_that_is_stopped_or_gone_is_no_fault_of_the_picture(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fake_program(tmp_path, "kill -9 $$")
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    engine = TesseractEngine("eng")
    with pytest.raises(SourceError, match=r"tesseract 5\.3\.0 was stopped by signal 9") as stopped:
        engine.read(np.zeros((4, 4, 3), np.uint8))
    with pytest.raises(GivingUp, match="was stopped by signal 9"):
        _reason(stopped.value, 4096)  # so the page is tried again
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / "tesseract").unlink()
    with pytest.raises(ConfigError, match=r"--ocr tesseract: tesseract 5\.3\.0 cannot be started: No such file"):
        engine.read(np.zeros((4, 4, 3), np.uint8))


@pytest.mark.skipif(shutil.which("tesseract") is None, reason="the program tesseract is not installed")
def test_reads_a_picture() -> None:
    engine = TesseractEngine("eng")
    read = engine.read(written("Total due: 1,262.35", "Thank you for paying"))
    assert [line.text for block in read.blocks for line in block] == ["Total due: 1,262.35", "Thank you for paying"]
    assert min(read.confidences) > 0.5
    assert not engine.read(np.full((60, 80, 3), 255, np.uint8)).blocks
