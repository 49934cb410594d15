"""From file to batch no image is float32 on the host, and layout writes each byte once, into one buffer.

Two gauges: every tensor that torch hands out is looked at, and numpy's arrays are counted by tracemalloc. The page is
one tile of P bytes, so a float32 copy of it would take 4 P; page, resized tile and patches together take 3 P.

Spans: families, pixels, pipeline, batches.
"""

import io
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from wdstream.batches.batch import Batch
from wdstream.batches.collate import collate, encode_pack
from wdstream.batches.sample import build_samples
from wdstream.families.base import Family
from wdstream.families.registry import load_family
from wdstream.nodes import tile as cut
from wdstream.pixels.grey import grey_as_rgb
from wdstream.pixels.patches import BAND_PIXELS
from wdstream.records import ImageSegment, Page, Pixels, TextSegment
from wdstream.tiling.labels import label_page
from wdstream.tiling.policy import TilingPolicy

FAMILIES = [
    *("qwen2_vl", "qwen2_5_vl", "qwen3_vl", "glm4v", "paddleocr_vl", "gemma4", "gemma3", "paligemma", "idefics3"),
    *("smolvlm", "llava_onevision", "internvl", "got_ocr2", "lighton_ocr", "llava", "mistral3", "aya_vision"),
]
SIDE = 695  # no multiple of anything, so the one tile is resized
ALLOWED = {torch.uint8, torch.int16, torch.int32, torch.int64, torch.bool}


class DtypesSeen(TorchDispatchMode):
    """The dtypes of all tensors that torch operations return."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.found: set[torch.dtype] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        self.found |= {leaf.dtype for leaf in tree_leaves(out) if isinstance(leaf, torch.Tensor)}
        return out


@contextmanager
def peak_bytes() -> Iterator[list[int]]:
    """The most bytes that numpy and Python held at once inside the block, beyond what they held before."""
    found: list[int] = []
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        yield found
        found.append(tracemalloc.get_traced_memory()[1] - before)
    finally:
        tracemalloc.stop()


def page(image_format: str) -> Page:
    noise = np.random.default_rng(0).integers(0, 256, (SIDE // 15, SIDE // 15, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(noise).resize((SIDE, SIDE)).save(stream, image_format)
    segments = (ImageSegment(index=0), TextSegment(text="Some words."))
    return Page(key="k", images=(stream.getvalue(),), segments=segments)


def built(family: Family, page: Page) -> Batch:
    """The batch of one page in one tile."""
    tiling = TilingPolicy(tile_size=SIDE + 5, tile_labels=False).for_family(family)
    page_of_tiles = label_page(cut.TileRenderer(tiling=tiling).render(page))
    return collate([encode_pack(build_samples([page_of_tiles], family), family)], family)


def gauged(family: Family, page: Page) -> tuple[set[torch.dtype], int]:
    built(family, page)  # imports, caches
    with DtypesSeen() as seen, peak_bytes() as peak:
        built(family, page)
    return seen.found, peak[0]


@pytest.mark.parametrize(("name", "image_format"), [*((name, "JPEG") for name in FAMILIES), ("qwen2_5_vl", "PNG")])
def test_no_float_image_on_the_host(name: str, image_format: str, tiny_models: dict[str, Path]) -> None:
    dtypes, peak = gauged(load_family(tiny_models[name]), page(image_format))
    assert dtypes <= ALLOWED
    assert peak < 4 * SIDE * SIDE * 3


def in_torch(image: Pixels) -> Pixels:
    return torch.from_numpy(image).float().round().to(torch.uint8).numpy()


def in_numpy(image: Pixels) -> Pixels:
    return (image.astype(np.float32) / 255 * 255).round().astype(np.uint8)


@pytest.mark.parametrize("fault", [in_torch, in_numpy])
def test_a_float_image_would_be_seen(
    fault: Callable[[Pixels], Pixels], tiny_models: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    resize = vars(cut)["resize"]
    monkeypatch.setattr(cut, "resize", lambda image, size, resample: resize(fault(image), size, resample))
    dtypes, peak = gauged(load_family(tiny_models["qwen2_5_vl"]), page("JPEG"))
    assert not dtypes <= ALLOWED or peak >= 4 * SIDE * SIDE * 3


def tiles_of(family: Family, count: int, *, is_one_plane: bool) -> list[Pixels]:
    """Noise at a size that the family takes as it is, in colour or grey."""
    width, height = family.resized(*family.resized(420, 560))
    rng = np.random.default_rng(0)
    tiles = [rng.integers(0, 256, (height, width, 3), dtype=np.uint8) for _ in range(count)]
    return [grey_as_rgb(np.ascontiguousarray(tile[..., 0])) for tile in tiles] if is_one_plane else tiles


@pytest.mark.parametrize(("is_one_plane", "scratch"), [(False, 0), (True, 4 * BAND_PIXELS)])
@pytest.mark.parametrize("name", FAMILIES)
def test_layout_writes_once_into_one_buffer(
    name: str, is_one_plane: bool, scratch: int, tiny_models: dict[str, Path]
) -> None:
    """A copy of any tile on the way would be a tenth more than the buffer itself; grey ones pass in bands."""
    family = load_family(tiny_models[name])
    tiles = tiles_of(family, 10, is_one_plane=is_one_plane)
    family.layout(tiles)
    with peak_bytes() as peak:
        arrays = family.layout(tiles)
    size = arrays["pixel_values"].nbytes
    assert size == sum(tile.size for tile in tiles)
    assert peak[0] < 1.05 * size + scratch


@pytest.mark.parametrize("name", FAMILIES)
def test_a_batch_of_one_pack_has_the_very_buffer(name: str, tiny_models: dict[str, Path]) -> None:
    family = load_family(tiny_models[name])
    laid_out = family.layout(tiles_of(family, 2, is_one_plane=True))
    joined = family.images.collate([laid_out])
    assert joined["pixel_values"] is laid_out["pixel_values"]
