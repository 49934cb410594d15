"""TileRenderer on shipped pages: the tiles of Decode and Tile, shrunk pages, scaled decoding and what it changes."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import simplejpeg
from PIL import Image

from tests.helpers.paths import DATA
from wdstream.errors import DecodeError
from wdstream.nodes.decode import decode_page
from wdstream.nodes.tile import TileRenderer, tile_page
from wdstream.pixels.cache_usage import entries_of
from wdstream.pixels.render import resize
from wdstream.pixels.settings import TileCacheSettings
from wdstream.pixels.tile_cache import TileCache
from wdstream.records import ImageSegment, Page, Pixels
from wdstream.tiling.policy import TilingPolicy

IMAGES = sorted(path for path in (DATA / "pages").rglob("*") if path.suffix in (".jpg", ".png", ".tif", ".tiff"))
IMAGES.remove(DATA / "pages/images/pillow-g4-multi.tiff")  # of several pages
TURNED = [
    *sorted((DATA / "bad").glob("pillow-hopper_orientation_*")),
    DATA / "bad" / "pillow-exif_imagemagick_orientation.png",
]
ADAPTIVE = TilingPolicy(tile_size=512, overview_size=336)
HALF = TilingPolicy(kind="none", image_size=500)
"""A policy under which every shipped page over 1,000 pixels needs at most half its resolution."""


def page_of(*paths: Path) -> Page:
    images = tuple(path.read_bytes() for path in paths)
    return Page(key="k", images=images, segments=tuple(ImageSegment(index=number) for number in range(len(images))))


def scan(width: int = 1240, height: int = 1754) -> Pixels:
    """A shipped colour page, of one size."""
    path = max(DATA.rglob("*.jpg"), key=lambda file: file.stat().st_size)
    return np.asarray(Image.open(path).convert("RGB").resize((width, height), Image.Resampling.BICUBIC))


def jpeg(pixels: Pixels) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=90)
    return file.getvalue()


def test_the_tiles_are_those_of_decode_and_tile() -> None:
    page = page_of(*IMAGES, *TURNED)
    cut, wanted = TileRenderer(tiling=ADAPTIVE).render(page), tile_page(decode_page(page), policy=ADAPTIVE)
    assert cut.plans == wanted.plans
    assert len(cut.tiles) == len(IMAGES) + len(TURNED)
    for found, expected in zip(cut.tiles, wanted.tiles, strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(found, expected, strict=True))


@pytest.mark.parametrize(
    ("name", "opened", "decoded"),
    [
        ("pages/scans/leptonlib-cat.007.jpg", 0, 1),
        ("bad/pillow-pil_sample_cmyk.jpg", 0, 1),
        ("pages/images/leptonlib-german.png", 1, 0),
        ("pages/images/leptonlib-harmoniam-11.tif", 1, 0),
        ("pages/images/tesseract-eurotext.tif", 1, 0),
        ("bad/pillow-hopper_orientation_8.webp", 1, 0),
        ("bad/pillow-hopper_zero_comment_subblocks.gif", 1, 0),
    ],
)
@pytest.mark.parametrize("decode", ["exact", "scaled"])
def test_an_image_is_opened_once(
    monkeypatch: pytest.MonkeyPatch, name: str, opened: int, decoded: int, decode: str
) -> None:
    """For its header, its plan and its pixels together: by Pillow, or by libjpeg-turbo, never by both."""
    calls = {"Image.open": 0, "decode_jpeg": 0}

    def counted(call: str, function: Any) -> Any:
        def count(*args: Any, **settings: Any) -> Any:
            calls[call] += 1
            return function(*args, **settings)

        return count

    monkeypatch.setattr(Image, "open", counted("Image.open", Image.open))
    monkeypatch.setattr(simplejpeg, "decode_jpeg", counted("decode_jpeg", simplejpeg.decode_jpeg))
    TileRenderer(tiling=HALF, decode=decode).render(page_of(DATA / name))  # type: ignore[arg-type]
    assert calls == {"Image.open": opened, "decode_jpeg": decoded}


def test_an_over_long_page_is_shrunk_first() -> None:
    page = page_of(IMAGES[0])
    (image,) = decode_page(page).images
    height, width = image.shape[:2]
    small = resize(image, ((width * 32 + 32) // 64, (height * 32 + 32) // 64), "bicubic")
    cut = TileRenderer(tiling=ADAPTIVE).render(page, scale=32)
    plan = ADAPTIVE.plan_tiles(small.shape[1], small.shape[0])
    assert cut.plans == (plan,)
    assert [tile.shape[1::-1] for tile in cut.tiles[0]] == list(plan.sizes)
    whole = TileRenderer(tiling=TilingPolicy(kind="none")).render(page, scale=32).tiles[0][0]
    assert np.array_equal(whole, small)


@pytest.mark.parametrize("scale", [64, 40])
def test_scaled_decoding_changes_little_and_only_where_half_is_enough(scale: int) -> None:
    """A colour page shrunk to under half: 1.6 grey levels on average, 26 at most. libjpeg reduces in the frequencies
    of a block, antialiasing in pixels."""
    page = Page(key="k", images=(jpeg(scan()),), segments=(ImageSegment(index=0),))
    exact, scaled = (
        TileRenderer(tiling=HALF, decode=decode).render(page, scale=scale) for decode in ("exact", "scaled")
    )
    assert scaled.plans == exact.plans
    assert [tile.shape for tile in scaled.tiles[0]] == [tile.shape for tile in exact.tiles[0]]
    difference = np.abs(scaled.tiles[0][0].astype(int) - exact.tiles[0][0])
    assert 0 < difference.mean() < 3
    assert np.percentile(difference, 99) < 25
    sharp = (TileRenderer(tiling=ADAPTIVE, decode=decode).render(page) for decode in ("exact", "scaled"))
    first, second = (cut.tiles[0] for cut in sharp)
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))  # a tile needs it all


def test_scaled_decoding_of_cut_tiles_shows_the_same_places() -> None:
    """Boxes are moved to the smaller page, to whole pixels of it: half a pixel there is up to 7.4 grey levels of sharp
    text on average, where two tiles of this page differ by 34 to 42."""
    page = Page(key="k", images=(jpeg(scan(2480, 3508)),), segments=(ImageSegment(index=0),))
    policy = TilingPolicy(kind="grid", grid=(2, 3), tile_size=(364, 364), overlap=0.1, overview_size=(336, 336))
    exact, scaled = (TileRenderer(tiling=policy, decode=decode).render(page).tiles[0] for decode in ("exact", "scaled"))
    for number, (one, other) in enumerate(zip(exact, scaled, strict=True)):
        same = np.abs(one.astype(int) - other).mean()
        next_tile = exact[number - 1] if number > 1 else exact[2]
        strange = np.abs(one.astype(int) - next_tile).mean() if number else 255.0
        assert same < 8
        assert same < strange / 4


def swapped(entries: list[Path]) -> None:
    """Each entry in the place of another."""
    contents = [entry.read_bytes() for entry in entries]
    for entry, other in zip(entries, contents[1:] + contents[:1], strict=True):
        entry.write_bytes(other)


def half_written(entries: list[Path]) -> None:
    for entry in entries:
        entry.write_bytes(entry.read_bytes()[: entry.stat().st_size // 2])


def flipped(entries: list[Path]) -> None:
    for entry in entries:
        data = bytearray(entry.read_bytes())
        data[-1] ^= 1
        entry.write_bytes(data)


@pytest.mark.parametrize("damage", [swapped, half_written, flipped])
def test_damaged_entries_of_the_cache_are_cut_again_and_mended(
    tmp_path: Path, damage: Callable[[list[Path]], None]
) -> None:
    page = page_of(*IMAGES[:3])
    wanted = TileRenderer(tiling=ADAPTIVE).render(page).tiles
    cutter = TileRenderer(tiling=ADAPTIVE, cache=TileCache(TileCacheSettings(path=tmp_path, max_bytes=10**9), "0" * 16))
    cutter.render(page)
    entries = [entry.path for entry in entries_of(tmp_path)]
    good = [entry.read_bytes() for entry in entries]
    damage(entries)
    assert [entry.read_bytes() for entry in entries] != good
    for found, expected in zip(cutter.render(page).tiles, wanted, strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(found, expected, strict=True))
    assert [entry.read_bytes() for entry in entries] == good
    kept = [entry.stat().st_mtime_ns for entry in entries]
    cutter.render(page)  # hits: nothing is written
    assert [entry.stat().st_mtime_ns for entry in entries] == kept


@pytest.mark.parametrize("decode", ["exact", "scaled"])
def test_bad_images_are_named(decode: str) -> None:
    cutter = TileRenderer(tiling=HALF, decode=decode, max_pixels=1_000_000)  # type: ignore[arg-type]
    good = jpeg(scan(600, 600))
    for bad, reason in (
        (b"no image", "not an image"),
        (good[:9000], "cannot be decoded"),
        (jpeg(scan()), "max_pixels"),
    ):
        page = Page(key="a", images=(good, bad), segments=(ImageSegment(index=0), ImageSegment(index=1)))
        with pytest.raises(DecodeError, match=f"page 'a', image 1: .*{reason}"):
            cutter.render(page)
