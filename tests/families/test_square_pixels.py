"""Pixels of families with squares, and of LightOnOCR, against the processor itself: layout exact, resize close.

Spans: families, pixels, batches.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tests.helpers.paths import PAGES
from wdstream.batches.collate import collate, encode_pack
from wdstream.batches.sample import build_sample
from wdstream.families.base import Family
from wdstream.families.reference.processor import load_processor, run_processor
from wdstream.families.registry import load_family
from wdstream.records import ImageSegment, LabelledPage, Pixels, Segment, Size, TextSegment

FAMILIES = [
    *("idefics3", "smolvlm", "llava_onevision", "internvl", "got_ocr2", "lighton_ocr"),
    *("gemma3", "llava", "mistral3", "aya_vision"),
]
SPLITTING = ["idefics3", "smolvlm", "llava_onevision", "internvl", "aya_vision"]
PADDED = ("lighton_ocr", "llava", "mistral3")
LANCZOS = ("idefics3", "smolvlm")
Both = tuple[Family, Any]


@pytest.fixture(scope="module", params=FAMILIES)
def both(request: pytest.FixtureRequest, tiny_models: dict[str, Path]) -> Both:
    family = load_family(tiny_models[request.param])
    return family, load_processor(family)


@pytest.fixture(scope="module")
def page() -> Pixels:
    """A shipped page, the one with most detail, next to and above itself: larger than every square."""
    path = max(PAGES.rglob("*.jpg"), key=lambda file: file.stat().st_size)
    return np.tile(np.asarray(Image.open(path).convert("RGB")), (2, 2, 1))


def crops(page: Pixels, sizes: list[Size]) -> list[Pixels]:
    """Crops of a page at these sizes, from places spread over it."""
    tiles = []
    for number, (width, height) in enumerate(sizes):
        top = (number * 131) % max(1, page.shape[0] - height)
        left = (number * 57) % max(1, page.shape[1] - width)
        tiles.append(page[top : top + height, left : left + width])
    return tiles


def labelled(tiles: list[Pixels]) -> LabelledPage:
    segments: list[Segment] = []
    for number in range(len(tiles)):
        segments += [ImageSegment(index=number), TextSegment(text="x")]
    return LabelledPage(key="k", tiles=tuple(tiles), segments=tuple(segments))


def ours(family: Family, tiles: list[Pixels], dtype: torch.dtype = torch.float32) -> dict[str, Any]:
    """Through sample, pack, collate and model_inputs, as in training: two packs, so that arrays are joined too."""
    packs = [encode_pack([build_sample(labelled(part), family)], family) for part in (tiles[:1], tiles[1:]) if part]
    batch = collate(packs, family)
    assert batch["pixel_values"].dtype == torch.uint8
    return family.model_inputs(batch, device="cpu", dtype=dtype)


def theirs(both: Both, tiles: list[Pixels]) -> dict[str, Any]:
    family, processor = both
    return dict(run_processor(processor, family, labelled(tiles), return_tensors="pt"))


def grey_levels(both: Both, tiles: list[Pixels]) -> torch.Tensor:
    """Differences in grey levels of 0..255; every shape is equal."""
    family, _ = both
    found, wanted = ours(family, tiles)["pixel_values"], theirs(both, tiles)["pixel_values"]
    if family.name == "llava_onevision":  # each image is padded to the most squares, with squares of 0
        wanted = wanted.flatten(0, 1)
        wanted = wanted[wanted.abs().flatten(1).amax(1) > 0]
    wanted = wanted.reshape(found.shape)
    std = family.images.pixels.std
    levels: torch.Tensor = 255 * torch.tensor(std).view(3, 1, 1) * (found - wanted).abs()
    if family.name not in PADDED:
        return levels
    # The processor pads with 0, we pad with black: the tower reads neither.
    sizes = [family.resized(tile.shape[1], tile.shape[0]) for tile in tiles]
    return torch.cat([image[:, :h, :w].flatten() for image, (w, h) in zip(levels, sizes, strict=True)])


def square_sizes(family: Family) -> list[Size]:
    side = family.size_multiple
    if family.name not in PADDED:
        return [(side, side)] * 3
    return [(10 * side, 16 * side), (18 * side, 8 * side), (side, side)]


def test_layout_is_exact_where_nothing_is_resized(both: Both, page: Pixels) -> None:
    family, _ = both
    tiles = crops(page, square_sizes(family))
    found, wanted = ours(family, tiles), theirs(both, tiles)
    if family.name != "llava_onevision":  # there a tile's own size says nothing to the model
        for key in found.keys() & {"image_sizes"}:
            assert found[key].tolist() == wanted[key].tolist()
    # One float32 rounding of values up to 2.6: no byte is in another place.
    levels = grey_levels(both, tiles)
    assert float(levels.max()) <= 1e-4


def near(family: Family) -> list[Size]:
    """Sizes that are enlarged a little and shrunk a lot, of several shapes."""
    if family.name in PADDED:
        return [(270, 431), (500, 200), (97, 160)]
    side = min(family.size_multiple, 448)
    return [(side - 5, side - 9), (side + 200, side + 61), (max(20, side - 100), side + 40)]


def test_resize_is_close(both: Both, page: Pixels) -> None:
    """Lanczos is Pillow's own, to the byte; bicubic rounds intermediate values in another way."""
    family, _ = both
    levels = grey_levels(both, crops(page, near(family)))
    if family.name in LANCZOS:
        assert float(levels.max()) <= 1e-4
    else:
        # Pillow begins with the height where that shrinks more; torch always with the width (tests of test_pixels.py).
        assert float(levels.max()) <= 10
        assert float(levels.mean()) <= 0.3
    same_way = grey_levels(both, crops(page, near(family)[1:2] * 2))
    assert float(same_way.max()) <= 2.01


@pytest.mark.parametrize("name", SPLITTING)
def test_whole_images_are_the_processors(name: str, tiny_models: dict[str, Path], page: Pixels) -> None:
    """All squares in their order, the whole image among them; two images of different grids."""
    family = load_family(tiny_models[name]).for_whole_images()
    both = family, load_processor(family)
    tiles = crops(page, [(600, 820), (500, 190)])
    found = ours(family, tiles)
    levels = grey_levels(both, tiles)
    if name == "llava_onevision":
        assert found["image_sizes"].tolist() == theirs(both, tiles)["image_sizes"].tolist()
        assert "batch_num_images" not in found
    if name in LANCZOS:
        assert float(levels.max()) <= 1e-4
    else:
        assert float(levels.max()) <= 10
        assert float(levels.mean()) <= 0.1


def test_how_far_one_resize_is_from_the_default_of_idefics3(tiny_models: dict[str, Path], page: Pixels) -> None:
    """The processor left to itself resizes an unsplit image to 1,456 pixels and down again; we resize a tile once."""
    family = load_family(tiny_models["idefics3"])
    processor = load_processor(family)
    processor.image_processor.do_resize = True
    square = grey_levels((family, processor), crops(page, [(364, 364)]))
    assert (float(square.max()), float(square.mean())) == pytest.approx((20.0, 1.30), rel=0.2)
    larger = grey_levels((family, processor), crops(page, [(500, 380)]))
    assert (float(larger.max()), float(larger.mean())) == pytest.approx((11.0, 0.61), rel=0.2)


def test_half_precision_is_the_rounded_float(both: Both, page: Pixels) -> None:
    family, _ = both
    tiles = crops(page, [(300, 200)])
    exact, half = (ours(family, tiles, dtype)["pixel_values"] for dtype in (torch.float32, torch.bfloat16))
    torch.testing.assert_close(half, exact.to(torch.bfloat16), rtol=0, atol=0)


def test_text_alone_has_no_pixels(both: Both) -> None:
    family, _ = both
    page = LabelledPage(key="k", tiles=(), segments=(TextSegment(text="words"),))
    batch = collate([encode_pack([build_sample(page, family)], family)], family)
    inputs = family.model_inputs(batch, device="cpu", dtype=torch.float32)
    assert not inputs.keys() & {"pixel_values", "image_sizes", "batch_num_images"}


def test_grey_images_are_laid_out_as_rgb(both: Both) -> None:
    """Decoded grey pages have a channel stride of 0."""
    family, _ = both
    plane = np.random.default_rng(0).integers(0, 256, (150, 220), dtype=np.uint8)
    grey = np.broadcast_to(plane[..., None], (150, 220, 3))
    first, second = (ours(family, [tile])["pixel_values"] for tile in (grey, np.ascontiguousarray(grey)))
    assert torch.equal(first, second)
