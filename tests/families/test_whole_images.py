"""Images that wdstream leaves whole are split as the model's own processor splits them, to the id; tiles are not.

Spans: families, tiling, batches.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.helpers.published import PUBLISHED, publish
from wdstream.batches.sample import build_sample
from wdstream.families.base import Family
from wdstream.families.reference.processor import load_processor, processor_ids
from wdstream.families.registry import load_family
from wdstream.records import ImageSegment, LabelledPage, Pixels, Segment, Size, TextSegment
from wdstream.tiling.policy import TilingPolicy

SPLITTING = ["idefics3", "smolvlm", "llava_onevision", "internvl", "got_ocr2"]
Both = tuple[Family, Any]


@pytest.fixture(
    scope="module", params=[(name, mode) for name in PUBLISHED for mode in ("tiles", "whole")], ids="-".join
)
def both(
    request: pytest.FixtureRequest, tiny_models: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> Both:
    """A family with the published numbers of patches, for tiles or for whole images, and its processor."""
    name, mode = request.param
    family = load_family(publish(tiny_models[name], tmp_path_factory.mktemp("published") / name, name))
    chosen = family.for_whole_images() if mode == "whole" else family
    assert chosen.is_splitting is (mode == "whole" and name in SPLITTING)
    return chosen, load_processor(chosen)


def document(parts: list[str | Size]) -> LabelledPage:
    """A page of texts and grey images that take no memory."""
    segments: list[Segment] = []
    tiles: list[Pixels] = []
    for part in parts:
        segments.append(TextSegment(text=part) if isinstance(part, str) else ImageSegment(index=len(tiles)))
        if not isinstance(part, str):
            tiles.append(np.broadcast_to(np.uint8(99), (part[1], part[0], 3)))
    return LabelledPage(key="k", tiles=tuple(tiles), segments=tuple(segments))


SIZES: list[Size] = [(1, 1), (1, 600), (700, 1), (364, 364), (310, 877), (1100, 40)]


def test_ids_are_the_processors(both: Both) -> None:
    """Images alone, between texts, and several in one row; 1-pixel sides included."""
    family, processor = both
    # A whole image is a dozen squares and more; the counts of all sizes are held in the test above.
    documents = [document([size, "Text 12.\n"]) for size in (SIZES[1:4] if family.is_splitting else SIZES)]
    documents += [document(["ab\n", SIZES[3], "\n\n<row0_col0>", (60, 90), "über 漢字 \n"])]
    documents += [document(["Only text."])]
    for page in documents:
        sizes = [(tile.shape[1], tile.shape[0]) for tile in page.tiles]
        columns = np.array(sizes, dtype=np.int64).reshape(-1, 2)
        planned, patches = family.image_cost(columns[:, 0], columns[:, 1])
        assert (planned > 0).all()
        sample = build_sample(page, family)
        assert sample.input_ids.tolist() == [*processor_ids(processor, family, page), family.eos_id], sizes
        texts = sum(family.text_cost(part.text) for part in page.segments if isinstance(part, TextSegment))
        assert sample.num_tokens == family.prefix_tokens + int(planned.sum()) + texts + 1
        assert sample.num_patches == int(patches.sum())


A4 = {
    "idefics3": (172, 4 * 3 * 171 + 3 + 1 + 172),
    "smolvlm": (67, 4 * 3 * 66 + 3 + 1 + 67),
    "llava_onevision": (730, 729 + 96 * 68 + 96),
    "internvl": (258, 2 + (2 * 3 + 1) * 256),
    "got_ocr2": (258, 2 + (2 * 3 + 1) * 256),
    "lighton_ocr": (39 * 55, 39 * 55),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_tokens_of_a_page_in_the_published_models(name: str, tiny_models: dict[str, Path], tmp_path: Path) -> None:
    """1240x1754 pixels, A4 at 150 dpi: as one tile, and whole."""
    family = load_family(publish(tiny_models[name], tmp_path / name, name))
    width, height = np.array([1240]), np.array([1754])
    costs = [int(chosen.image_cost(width, height)[0][0]) for chosen in (family, family.for_whole_images())]
    assert tuple(costs) == A4[name]


@pytest.mark.parametrize("name", SPLITTING)
def test_the_fingerprint_follows_the_splitting(name: str, tiny_models: dict[str, Path], tmp_path: Path) -> None:
    family = load_family(publish(tiny_models[name], tmp_path / name, name))
    whole = family.for_whole_images()
    assert (family.is_splitting, whole.is_splitting) == (False, True)
    assert family.fingerprint == load_family(family.model_dir).fingerprint
    assert whole.fingerprint != family.fingerprint
    assert whole.text_fingerprint == family.text_fingerprint
    assert (whole.cost, whole.cost.per_image_patch_squared) == (family.cost, 0)


@pytest.mark.parametrize("name", SPLITTING)
def test_adaptive_tiles_are_taken_as_they_are(name: str, tiny_models: dict[str, Path], tmp_path: Path) -> None:
    """The policy's tiles have the size of a square, so nothing is resized a second time."""
    family: Any = load_family(publish(tiny_models[name], tmp_path / name, name))
    policy = TilingPolicy(kind="adaptive").for_family(family)
    for page in [(1240, 1754), (2480, 3508), (60, 1200), (30, 30)]:
        assert {family.resized(*tile) for tile in policy.plan_tiles(*page).sizes} == {
            (family.size_multiple, family.size_multiple)
        }
        assert set(policy.plan_tiles(*page).sizes) == {(family.size_multiple, family.size_multiple)}
