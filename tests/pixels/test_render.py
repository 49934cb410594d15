import subprocess
import sys

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.helpers.paths import DATA
from wdstream.errors import DecodeError
from wdstream.pixels.decode import decode_image
from wdstream.pixels.grey import grey_as_rgb, is_grey
from wdstream.pixels.render import render_tiles, resize, scaled_decode_size
from wdstream.records import Pixels, Placement, TilePlan
from wdstream.tiling.policy import TilingPolicy, plan_tiles
from wdstream.tiling.settings import ShapeBucket

FILTERS = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
PAGES = ["scans/leptonlib-cat.007.jpg", "images/leptonlib-german.png", "images/leptonlib-harmoniam-11.tif"]


def noise(height: int, width: int, seed: int = 0) -> Pixels:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def page(name: str) -> Pixels:
    return decode_image((DATA / "pages" / name).read_bytes(), max_pixels=10**8)


def pillow_resize(image: Pixels, size: tuple[int, int], resample: str) -> np.ndarray:
    return np.asarray(Image.fromarray(np.ascontiguousarray(image)).resize(size, FILTERS[resample]))


@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize("resample", ["bilinear", "bicubic", "lanczos"])
@pytest.mark.parametrize("scale", [0.23, 0.5, 0.87, 1.6])
def test_resize_against_pillow_on_real_pages(name: str, resample: str, scale: float) -> None:
    """The largest difference on these pages, in grey levels: bilinear 1, bicubic 2, lanczos 0."""
    image = page(name)[:900, :700]
    size = round(image.shape[1] * scale), round(image.shape[0] * scale)
    difference = np.abs(resize(image, size, resample).astype(int) - pillow_resize(image, size, resample))
    assert difference.max() <= {"bilinear": 1, "bicubic": 2, "lanczos": 0}[resample]
    assert difference.mean() < 0.1


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.tuples(*[st.integers(1, 90)] * 4),
    resample=st.sampled_from(["bilinear", "bicubic", "lanczos"]),
    seed=st.integers(0, 1000),
)
@example(sizes=(9, 7, 9, 20), resample="bicubic", seed=0)  # the width alone
@example(sizes=(9, 7, 20, 7), resample="bicubic", seed=0)  # the height alone
@example(sizes=(2, 3, 2, 1), resample="bilinear", seed=0)  # fewer rows than lanes
@example(sizes=(3, 2, 1, 2), resample="bilinear", seed=0)
def test_grey_is_resized_as_one_plane_to_the_same_bytes(
    sizes: tuple[int, int, int, int], resample: str, seed: int
) -> None:
    height, width, new_height, new_width = sizes
    grey = grey_as_rgb(noise(height, width, seed)[..., 0].copy())
    resized = resize(grey, (new_width, new_height), resample)
    assert is_grey(resized) or (new_width, new_height) == (width, height)
    rgb = resize(np.ascontiguousarray(grey), (new_width, new_height), resample)
    assert np.array_equal(resized, rgb)


def test_resize_to_the_same_size_is_no_work() -> None:
    image = noise(30, 40)
    assert resize(image, (40, 30), "bicubic") is image


def test_unknown_filter() -> None:
    with pytest.raises(ValueError, match="unknown resample 'nearest'; expected one of bilinear, bicubic, lanczos"):
        resize(noise(4, 4), (2, 2), "nearest")


def test_results_are_interleaved() -> None:
    """torch gives planar pixels, in twice the time, to whom passes a batch axis of stride 0."""
    assert resize(noise(300, 200), (100, 150), "bicubic").strides == (300, 3, 1)


def test_native_tiles_are_views() -> None:
    image = noise(900, 600)
    plan = plan_tiles(600, 900, TilingPolicy(kind="grid", grid=(2, 3), native_resolution=True, overlap=0.0))
    tiles = render_tiles(image, plan, resample="bicubic")
    assert len(tiles) == 6
    for tile, (left, top, right, bottom) in zip(tiles, plan.boxes, strict=True):
        assert np.shares_memory(tile, image)
        assert np.array_equal(tile, image[top:bottom, left:right])


@pytest.mark.parametrize(
    ("size", "views"),
    [((1232, 1764), [True] * 4), ((1240, 1764), [True, False, True, False]), ((1240, 1754), [True] + [False] * 3)],
)
@pytest.mark.parametrize("is_one_plane", [False, True])
def test_adaptive_tiles_are_views_but_where_the_page_is_no_multiple(
    size: tuple[int, int], views: list[bool], is_one_plane: bool
) -> None:
    image = noise(size[1], size[0])
    image = grey_as_rgb(image[..., 0].copy()) if is_one_plane else image
    tiles = render_tiles(image, plan_tiles(*size, TilingPolicy()), resample="bicubic")
    assert [np.shares_memory(tile, image) for tile in tiles] == views


@pytest.mark.parametrize(("color", "shown"), [("tomato", [255, 99, 71]), ("#0a0b0c", [10, 11, 12]), (None, [0, 0, 0])])
@pytest.mark.parametrize("kind", ["grid", "bucket", "none", "overview"])
def test_padding_shows_the_colour_of_that_name(color: str | None, shown: list[int], kind: str) -> None:
    policy = {
        "grid": TilingPolicy(kind="grid", grid=(1, 1), tile_size=20, pad_color=color),
        "bucket": TilingPolicy(
            kind="shape_buckets", tile_size=20, shape_buckets=(ShapeBucket(grid=(1, 1), pad_color=color or "black"),)
        ),
        "none": TilingPolicy(kind="none", image_size=20, no_upscale=True, pad_color=color),
        "overview": TilingPolicy(kind="grid", grid=(1, 1), native_resolution=True, overview_size=20, pad_color=color),
    }[kind]
    tile = render_tiles(np.full((4, 10, 3), 200, np.uint8), plan_tiles(10, 4, policy), resample="bicubic")[0]
    assert tile.shape == (20, 20, 3)
    assert (tile[0, 0].tolist(), tile[19, 19].tolist()) == (shown, shown)
    assert (tile[8:12, 5:15] == 200).all()
    assert (tile == 200).all(axis=2).sum() == 40


@pytest.mark.parametrize("resample", ["bilinear", "bicubic", "lanczos"])
def test_padded_tiles_are_cropped_fitted_and_pasted(resample: str) -> None:
    image = page("scans/leptonlib-cat.007.jpg")
    policy = TilingPolicy(kind="shape_buckets", tile_size=256, overview_size=200, pad_color=(9, 99, 199))
    plan = plan_tiles(image.shape[1], image.shape[0], policy)
    tiles = render_tiles(image, plan, resample=resample)
    assert [(tile.shape[1], tile.shape[0]) for tile in tiles] == list(plan.sizes)
    for tile, box, size, placement in zip(tiles, plan.boxes, plan.sizes, plan.placements, strict=True):
        wanted = Image.new("RGB", size, (9, 99, 199))
        crop = Image.fromarray(image).crop(box).resize((placement.width, placement.height), FILTERS[resample])
        wanted.paste(crop, (placement.left, placement.top))
        assert np.abs(tile.astype(int) - np.asarray(wanted)).max() <= 2


def test_grey_tiles_on_a_canvas() -> None:
    image = grey_as_rgb(noise(60, 40)[..., 0].copy())
    plan = TilePlan(
        grid=(1, 1),
        boxes=((0, 0, 40, 60),),
        sizes=((80, 80),),
        placements=(Placement(width=40, height=60, left=20, top=10),),
        labels=None,
        has_overview=False,
        pad_color=(255, 0, 0),
    )
    (tile,) = render_tiles(image, plan, resample="bicubic")
    assert np.array_equal(tile[10:70, 20:60], image)
    outside = np.ones((80, 80), bool)
    outside[10:70, 20:60] = False
    assert (tile[outside] == (255, 0, 0)).all()


@pytest.mark.parametrize("box", [(0, 0, 41, 60), (0, 0, 40, 61), (-1, 0, 40, 60), (5, 0, 5, 60)])
def test_a_plan_of_another_image_is_an_error(box: tuple[int, int, int, int]) -> None:
    plan = TilePlan(
        grid=(1, 1),
        boxes=(box,),
        sizes=((40, 60),),
        placements=(Placement(width=40, height=60, left=0, top=0),),
        labels=None,
        has_overview=False,
    )
    with pytest.raises(DecodeError, match="out of an image of 40x60 pixels: the plan was made for an image of another"):
        render_tiles(noise(60, 40), plan, resample="bicubic")


@settings(max_examples=40, deadline=None)
@given(width=st.integers(1, 500), height=st.integers(1, 500))
def test_any_page_under_the_default_policy(width: int, height: int) -> None:
    plan = plan_tiles(width, height, TilingPolicy(kind="adaptive"))
    tiles = render_tiles(noise(height, width), plan, resample="bicubic")
    assert [(tile.shape[1], tile.shape[0]) for tile in tiles] == list(plan.sizes)


@pytest.mark.parametrize(("size", "mean"), [(300, 1.8), (500, 2.7)])
def test_scaled_decode_of_a_real_page(size: int, mean: float) -> None:
    """How many grey levels it moves a page of 1111x2010 by, on average; at edges of letters up to 91."""
    data = (DATA / "pages/scans/leptonlib-cat.007.jpg").read_bytes()
    plan = plan_tiles(1111, 2010, TilingPolicy(kind="grid", grid=(2, 2), tile_size=size, overlap=0.05))
    enough = scaled_decode_size(plan, (1111, 2010))
    assert enough is not None
    small = decode_image(data, max_pixels=10**8, min_size=enough)
    assert enough[0] <= small.shape[1] <= 556
    exact = render_tiles(decode_image(data, max_pixels=10**8), plan, resample="bicubic")
    scaled = render_tiles(small, plan, resample="bicubic", scaled_from=(1111, 2010))
    assert [tile.shape for tile in scaled] == [tile.shape for tile in exact]
    differences = [np.abs(one.astype(int) - other) for one, other in zip(exact, scaled, strict=True)]
    assert np.mean([difference.mean() for difference in differences]) == pytest.approx(mean, abs=0.2)
    assert max(difference.max() for difference in differences) <= 91


def test_scaled_decode_only_where_it_saves() -> None:
    fine = plan_tiles(1000, 1000, TilingPolicy(kind="grid", grid=(2, 2), tile_size=251, overlap=0.0))
    coarse = plan_tiles(1000, 1000, TilingPolicy(kind="grid", grid=(2, 2), tile_size=250, overlap=0.0))
    assert scaled_decode_size(fine, (1000, 1000)) is None
    assert scaled_decode_size(coarse, (1000, 1000)) == (500, 500)


@settings(max_examples=30, deadline=None)
@given(width=st.integers(1, 3000), height=st.integers(1, 40), factor=st.sampled_from([2, 4, 8]))
def test_boxes_of_a_scaled_page_stay_inside_it(width: int, height: int, factor: int) -> None:
    policy = TilingPolicy(kind="grid", grid=(2, 3), tile_size=8, overlap=0.1)
    plan = plan_tiles(width, height, policy)
    small = noise(-(-height // factor), -(-width // factor))
    tiles = render_tiles(small, plan, resample="bilinear", scaled_from=(width, height))
    assert [tile.shape for tile in tiles] == [(8, 8, 3)] * len(plan.boxes)


def test_no_thread_is_started() -> None:
    """A worker that started torch's pool would oversubscribe the machine: each worker thread has its own pool."""
    code = """
import io, os
import numpy as np
from PIL import Image
from wdstream.pixels.decode import decode_image
from wdstream.pixels.patches import patchify
from wdstream.pixels.render import resize
stream = io.BytesIO()
Image.fromarray(np.arange(1200 * 1000 * 3, dtype=np.uint8).reshape(1200, 1000, 3)).save(stream, "JPEG")
before = len(os.listdir("/proc/self/task"))
image = decode_image(stream.getvalue(), max_pixels=10**8)
for resample in ("bilinear", "bicubic", "lanczos"):
    tile = resize(image[7:1107, 5:905], (560, 840), resample)
patchify(tile, patch_size=14, merge_size=2, out=np.empty((2400, 588), np.uint8))
print(len(os.listdir("/proc/self/task")) - before)
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout == "0\n"
