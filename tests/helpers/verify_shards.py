"""Drawn pages that are unlike each other, damage to files, and verify as a function and as a command."""

import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from wdstream.verify.findings import VerifyReport
from wdstream.verify.job import verify_shards
from wdstream.verify.options import VerifyOptions

LETTERS = "etaoinshrdlu"


def draw_page(number: int, size: tuple[int, int] = (420, 560)) -> Image.Image:
    """A page of grey bars in the place of words, of other lengths on every page."""
    random = np.random.default_rng(number)
    image = Image.new("L", size, 255)
    draw = ImageDraw.Draw(image)
    for line in range(20):
        left = 30 + int(random.integers(0, 60))
        for _ in range(int(random.integers(2, 6))):
            width = int(random.integers(20, 90))
            draw.rectangle((left, 30 + 25 * line, left + width, 44 + 25 * line), fill=int(random.integers(0, 120)))
            left += width + 12
    return image


def text_of_page(number: int) -> str:
    """Eighty words of three to eight letters; pages have few triples of words in common."""
    random = np.random.default_rng(1000 + number)
    words = (
        "".join(LETTERS[letter] for letter in random.integers(0, 12, length)) for length in random.integers(3, 9, 80)
    )
    return " ".join(words)


def write_raw(raw: Path, count: int) -> None:
    raw.mkdir(parents=True)
    for number in range(count):
        draw_page(number).save(raw / f"p{number:02d}.png")
        (raw / f"p{number:02d}.txt").write_text(text_of_page(number))


def verify(path: Path | str, **options: object) -> VerifyReport:
    return verify_shards(path, options=VerifyOptions.of({"workers": 1, **options}))


def flip(path: Path, place: int, bit: int = 0) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= 1 << bit
    path.write_bytes(data)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-700])


def run(*words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([sys.executable, "-m", "wdstream", "verify", *words], capture_output=True, text=True)
