"""Tesseract: the program, started for each picture, with pipes to it.

It writes no files, and ends with the process that started it, so that one that hangs is gone with its page.
"""

import errno
import hashlib
import os
import signal
import subprocess
from functools import cache
from pathlib import Path

from PIL import Image

from wdstream.errors import ConfigError, SourceError
from wdstream.raw.children import die_with_parent
from wdstream.raw.ocr import PictureText
from wdstream.raw.texts.page_text import LineBox, TextLine
from wdstream.records import Pixels
from wdstream.text.characters import one_line

_PROGRAM = "tesseract"
_LINE, _WORD = "4", "5"
_NUM_FIELDS = 12
_SHOWN = 200
_START_S = 60
_STOPPED = (signal.SIGINT, signal.SIGTERM, signal.SIGKILL)
"""Signals that somebody sends, or a system without memory: they say nothing of the picture."""


class TesseractEngine:
    """Tesseract with the data of some languages, `eng+deu`.

    Raises:
        ConfigError: the program is not there, or lacks a language.
    """

    max_side = 8000
    least_confidence = 0.7

    def __init__(self, language: str) -> None:
        program, languages = _installed()
        lacking = [name for name in language.split("+") if name not in languages]
        if lacking:
            raise ConfigError(
                f"--ocr-language {one_line(language)}: tesseract has no data for {one_line(', '.join(lacking))} "
                f"(it has {', '.join(sorted(languages))}); install it, such as the package tesseract-ocr-deu for deu"
            )
        self._language = language
        self.name = program
        self.identity = ", ".join([program, *(f"{name} {languages[name]}" for name in language.split("+"))])

    def read(self, pixels: Pixels) -> PictureText:
        """Read a picture; lines, words and their order are tesseract's.

        Raises:
            SourceError: the program fails.
            ConfigError: it is no longer there.
        """
        height, width = pixels.shape[:2]
        command = [_PROGRAM, "stdin", "stdout", "-l", self._language, "--psm", "3", "--dpi", "300", "tsv"]
        try:
            done = subprocess.run(
                command,
                input=b"P5 %d %d 255\n" % (width, height) + Image.fromarray(pixels).convert("L").tobytes(),
                capture_output=True,
                env={**os.environ, "OMP_THREAD_LIMIT": "1"},
                preexec_fn=die_with_parent,
            )
        except OSError as error:
            raise ConfigError(f"--ocr tesseract: {self.name} cannot be started: {error.strerror}") from error
        if -done.returncode in _STOPPED:
            stopped = InterruptedError(errno.EINTR, f"{self.name} was stopped by signal {-done.returncode}")
            raise SourceError(str(stopped.strerror)) from stopped
        if done.returncode:
            said = one_line(done.stderr.decode("utf-8", "replace").strip().rpartition("\n")[2])[:_SHOWN]
            raise SourceError(f"{self.name} cannot read the picture: exit status {done.returncode}, {said}")
        return reading_of_tsv(done.stdout.decode("utf-8", "replace"))


def reading_of_tsv(table: str) -> PictureText:
    """The reading in tesseract's table of blocks, paragraphs, lines and words."""
    words: dict[tuple[str, ...], list[str]] = {}
    boxes: dict[tuple[str, ...], LineBox] = {}
    confidences: list[float] = []
    for row in table.splitlines()[1:]:
        fields = row.split("\t", _NUM_FIELDS - 1)
        if len(fields) < _NUM_FIELDS:
            continue
        line = tuple(fields[1:5])
        if fields[0] == _LINE:
            left, top, width, height = (float(field) for field in fields[6:10])
            boxes[line] = (left, top, left + width, top + height)
        elif fields[0] == _WORD and fields[11].strip():
            words.setdefault(line, []).append(fields[11].strip())
            confidences.append(min(max(float(fields[10]) / 100, 0.0), 1.0))
    blocks: dict[tuple[str, ...], list[TextLine]] = {}
    for line, texts in words.items():  # of one paragraph, in tesseract's order
        blocks.setdefault(line[:3], []).append(TextLine(text=" ".join(texts), box=boxes.get(line)))
    return PictureText(blocks=tuple(map(tuple, blocks.values())), confidences=tuple(confidences))


@cache
def _installed() -> tuple[str, dict[str, str]]:
    """Name and version of the program, and its languages with digests of their data.

    Raises:
        ConfigError: it is not there.
    """
    try:
        version, listed = (_said(option) for option in ("--version", "--list-langs"))
    except (OSError, subprocess.SubprocessError) as error:
        raise ConfigError(
            f"--ocr tesseract: the program {_PROGRAM} cannot be run ({error}); install it, such as the package "
            "tesseract-ocr, or use --ocr rapidocr"
        ) from error
    first, *languages = listed.splitlines()
    folder = Path(first.partition('"')[2].rpartition('"')[0])
    return version.partition("\n")[0].strip(), {name: _digest(folder / f"{name}.traineddata") for name in languages}


def _said(option: str) -> str:
    done = subprocess.run([_PROGRAM, option], capture_output=True, check=True, timeout=_START_S)
    return done.stdout.decode("utf-8", "replace") or done.stderr.decode("utf-8", "replace")


def _digest(file: Path) -> str:
    """12 hex digits of a file, or "" where it is not where the program said."""
    return hashlib.sha256(file.read_bytes()).hexdigest()[:12] if file.is_file() else ""
