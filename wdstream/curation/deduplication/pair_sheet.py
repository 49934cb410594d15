"""Pairs of pages side by side in one picture, to be looked at."""

import io
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw

from wdstream.errors import PageError
from wdstream.pixels.decode import EncodedImage
from wdstream.records import MAX_PIXELS, Page
from wdstream.storage.atomic import write_file
from wdstream.text.characters import printable
from wdstream.verify.page_check import all_text

_SIDE, _LINE, _MARGIN, _COLUMNS = 300, 14, 8, 4
_SHOWN_CHARS = 46


def write_pair_sheet(path: Path, pairs: Sequence[tuple[Page, Page, int]]) -> None:
    """Write a JPEG with a cell for each pair: both pictures, their keys, how far apart they are, how their texts
    begin."""
    width, height = 2 * _SIDE + 2 * _MARGIN, _SIDE + 4 * _LINE + _MARGIN
    rows = -(-len(pairs) // _COLUMNS)
    sheet = Image.new("RGB", (width * min(_COLUMNS, len(pairs)), height * rows), "white")
    for number, pair in enumerate(pairs):
        sheet.paste(_cell(*pair, (width, height)), (number % _COLUMNS * width, number // _COLUMNS * height))
    file = io.BytesIO()
    sheet.save(file, "JPEG", quality=85)
    write_file(path, file.getvalue())


def _cell(one: Page, other: Page, distance: int, size: tuple[int, int]) -> Image.Image:
    cell = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(cell)
    for place, page in enumerate((one, other)):
        left = _MARGIN + place * _SIDE
        cell.paste(_thumbnail(page), (left, 0))
        lines = [page.key, f"{'stays' if place == 0 else f'copy, distance {distance}'}", *all_text(page).split("\n")]
        for line, text in enumerate(lines[:4]):
            draw.text((left, _SIDE + line * _LINE), _drawable(text), fill="black")
    draw.rectangle((0, 0, size[0] - 1, size[1] - 1), outline="grey")
    return cell


def _thumbnail(page: Page) -> Image.Image:
    try:
        image = Image.fromarray(EncodedImage(page.images[0]).decode(max_pixels=MAX_PIXELS))
    except (PageError, IndexError):
        return Image.new("RGB", (_SIDE // 2, _SIDE // 2), "lightgrey")
    image.thumbnail((_SIDE - _MARGIN, _SIDE - _MARGIN))
    return image


def _drawable(text: str) -> str:
    """What Pillow's own font draws."""
    return printable(text).encode("latin-1", "replace").decode("latin-1")[:_SHOWN_CHARS]
