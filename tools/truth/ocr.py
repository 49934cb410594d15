"""Pictures read by tesseract, run as a process for each reading.

A reading is kept in a folder by the digest of the picture and how it was read, where one is named: judging the same
pages again after a change of the labels costs no OCR.
"""

import hashlib
import io
import os
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from PIL import Image, ImageOps

from truth.words import words_of
from wdstream.errors import ConfigError
from wdstream.storage.atomic import write_file

ENGINE = "tesseract"
MIN_SIDE, MAX_SIDE = 1600, 8000
"""Pixels of the longer side of what the engine gets: small pictures are enlarged, by 4 at most, large ones reduced."""
TIME_LIMIT = 180
_WORD_LEVEL = "5"
_NUM_FIELDS = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """One way to look at a picture.

    Attributes:
        mode: how the engine segments the page: 3 in blocks of lines, 11 as text anywhere.
        scale: of the picture's sides.
        turn: degrees counterclockwise.
    """

    mode: int = 3
    scale: float = 1.0
    turn: int = 0


FIRST = View()
FURTHER = (View(mode=11, scale=1.5), View(mode=6), View(turn=90), View(turn=270), View(turn=180))
"""Views of what the first did not show: loose text of figures and tables, small letters, text on its side."""


@dataclass(frozen=True, slots=True)
class Reading:
    """The words that an engine read in its order, (n,) each; a word of the engine may hold several or none.

    Attributes:
        words: normalised (truth/words.py).
        confidence: 0 to 100, the engine's.
        boxes: left, top, right, bottom, as shares of the picture that was read.
        text: as the engine wrote it, a line per line.
    """

    words: tuple[str, ...]
    confidence: tuple[float, ...]
    boxes: tuple[tuple[float, float, float, float], ...]
    text: str


class Engine:
    """Tesseract with the language data that are installed.

    Args:
        cache_folder: where readings are kept; None keeps none.

    Raises:
        ConfigError: tesseract is not installed.
    """

    def __init__(self, cache_folder: Path | None = None) -> None:
        self._folder = cache_folder
        self._is_stopped = False
        self.version, self.languages = installed()

    def lacking(self, language: str) -> list[str]:
        """The language data of `deu+eng` that are not installed."""
        return [name for name in language.split("+") if name not in self.languages]

    def stop(self) -> None:
        """Refuse to read from now on, so that a page that is being judged ends after the view it is at."""
        self._is_stopped = True

    def read(self, picture: bytes, language: str, view: View = FIRST) -> Reading:
        """Read an encoded picture.

        Raises:
            ConfigError: tesseract fails on it or exceeds the time limit, or `stop` was called.
        """
        if self._is_stopped:
            raise ConfigError("the judge was stopped")
        named = f"{self.version}|{language}|{view.mode}|{view.scale}|{view.turn}|".encode()
        kept = self._folder / f"{hashlib.sha256(named + picture).hexdigest()}.tsv" if self._folder else None
        if kept is not None and kept.exists():
            return reading_of(kept.read_text(encoding="utf-8"))
        table = _run(_prepared(picture, view), language, view.mode)
        if kept is not None:
            kept.parent.mkdir(parents=True, exist_ok=True)
            write_file(kept, table.encode())
        return reading_of(table)


def reading_of(table: str) -> Reading:
    """The reading in tesseract's TSV."""
    words: list[str] = []
    confidence: list[float] = []
    boxes: list[tuple[float, float, float, float]] = []
    lines: dict[tuple[str, ...], list[str]] = {}
    width = height = 1.0
    for row in table.splitlines()[1:]:
        fields = row.split("\t", _NUM_FIELDS - 1)
        if len(fields) < _NUM_FIELDS - 1:
            continue
        left, top, right, bottom = (float(field) for field in fields[6:10])
        if fields[0] == "1":
            width, height = max(right, 1.0), max(bottom, 1.0)
        if fields[0] != _WORD_LEVEL or len(fields) < _NUM_FIELDS:
            continue
        lines.setdefault(tuple(fields[1:5]), []).append(fields[11])
        for word in words_of(fields[11]).words:
            words.append(word)
            confidence.append(float(fields[10]))
            boxes.append((left / width, top / height, (left + right) / width, (top + bottom) / height))
    text = "\n".join(" ".join(line) for line in lines.values())
    return Reading(words=tuple(words), confidence=tuple(confidence), boxes=tuple(boxes), text=text)


@cache
def installed() -> tuple[str, frozenset[str]]:
    """Tesseract's version and its language data."""
    try:
        version = subprocess.run([ENGINE, "--version"], capture_output=True, text=True, check=True, timeout=60).stdout
        listed = subprocess.run([ENGINE, "--list-langs"], capture_output=True, text=True, check=True, timeout=60).stdout
    except (OSError, subprocess.SubprocessError) as error:
        raise ConfigError(
            f"{ENGINE} cannot be run ({error}); the judge reads pages with it: apt-get install tesseract-ocr and the "
            "data of the languages (tesseract-ocr-rus, ...)"
        ) from error
    return version.partition("\n")[0], frozenset(listed.split("\n")[1:])


def _prepared(picture: bytes, view: View) -> bytes:
    """The picture as the engine gets it: grey, upright by EXIF, large enough, as PNG."""
    with Image.open(io.BytesIO(picture)) as opened:
        image = ImageOps.exif_transpose(opened)
        if image.has_transparency_data:
            ground = Image.new("RGBA", image.size, "white")
            ground.alpha_composite(image.convert("RGBA"))
            image = ground
        grey = image.convert("L")
    side = max(grey.size)
    factor = max(1.0, min(MIN_SIDE / side, 4.0)) * view.scale
    factor = min(factor, MAX_SIDE / side)
    if factor != 1.0:
        size = (max(1, round(grey.width * factor)), max(1, round(grey.height * factor)))
        grey = grey.resize(size, Image.Resampling.LANCZOS)
    out = io.BytesIO()
    grey.rotate(view.turn, expand=True, fillcolor=255).save(out, "PNG", compress_level=1)
    return out.getvalue()


def _run(png: bytes, language: str, mode: int) -> str:
    """Tesseract's TSV of a picture; one thread, since pages are read side by side."""
    command = [ENGINE, "stdin", "stdout", "-l", language, "--psm", str(mode), "--dpi", "200", "tsv"]
    try:
        done = subprocess.run(
            command,
            input=png,
            capture_output=True,
            check=True,
            timeout=TIME_LIMIT,
            start_new_session=True,  # Ctrl-C and `timeout` reach the whole group; the judge itself decides what ends
            env={**os.environ, "OMP_THREAD_LIMIT": "1"},
        )
    except subprocess.CalledProcessError as error:
        said = error.stderr.decode("utf-8", "replace").strip().rpartition("\n")[2]
        raise ConfigError(f"{ENGINE} -l {language} --psm {mode}: exit status {error.returncode}: {said}") from error
    except subprocess.TimeoutExpired as error:
        raise ConfigError(f"{ENGINE} -l {language} --psm {mode}: no answer in {TIME_LIMIT} seconds") from error
    return done.stdout.decode("utf-8", "replace")
