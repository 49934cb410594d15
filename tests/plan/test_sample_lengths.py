from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers.plan_data import UNTILED, Columns, Squares, pages
from wdstream.plan.datasets import Mixture
from wdstream.plan.protocols import Dataset
from wdstream.plan.sample_lengths import (
    ImageCostTable,
    LengthEstimator,
    LengthLimits,
    Reject,
    SampleLengths,
    SampleSizes,
    scaled_size,
)
from wdstream.plan.settings import PlanSettings
from wdstream.tiling.labels import tile_text_pieces
from wdstream.tiling.policy import TilingPolicy, plan_tiles

POLICIES = [
    UNTILED,
    TilingPolicy(kind="adaptive", tile_size=112, min_tile_pixels=28 * 28),
    TilingPolicy(kind="shape_buckets", tile_size=56, overview_size=28, reading_order="rtl"),
    TilingPolicy(kind="grid", grid=(2, 2), native_resolution=True, tile_labels=False),
]


def columns(samples: list[tuple[int, list[tuple[int, int]]]]) -> Columns:
    """Samples as (text tokens, sizes of images)."""
    return Columns(
        text_tokens=np.array([text for text, _ in samples]),
        sizes=[images for _, images in samples],
        shard_starts=np.array([0]),
    )


def measure(
    data: Columns,
    *,
    family: Squares | None = None,
    tiling: TilingPolicy = UNTILED,
    epoch: int | None = None,
    **more: Any,
) -> SampleLengths:
    small = {"sequence_length": 10_000, "max_patches": 10_000, "global_batch_size": 1}
    made = PlanSettings(**(small | more))
    mixture = Mixture([Dataset(columns=data, name="books")], family or Squares(), tiling, made)
    return mixture.planned[0].measure(np.arange(len(data)), epoch=epoch)[0]


def test_by_hand() -> None:
    lengths = measure(columns([(7, [(56, 28)]), (5, []), (9, [(28, 28), (29, 28)])]))
    # 56x28 is 2 patches: 1 token and 2 around it; then 7 of text and the EOS
    assert lengths.tokens.tolist() == [3 + 7 + 1, 5 + 1, 3 + 3 + 9 + 1]
    assert lengths.patches.tolist() == [2, 0, 3]
    assert lengths.supervised.tolist() == [8, 5, 10]  # without image and prefix, the first token is not supervised
    assert lengths.vision_cost.tolist() == [5 * 2 + 2 * 4, 0, (5 + 2) + (10 + 8)]
    assert lengths.scale.tolist() == [64, 64, 64]
    assert lengths.reject.tolist() == [0, 0, 0]


def test_a_prefix_counts_and_makes_the_first_text_token_learnable() -> None:
    lengths = measure(columns([(7, [(28, 28)]), (5, [])]), family=Squares(prefix_tokens=1))
    assert lengths.tokens.tolist() == [1 + 3 + 7 + 1, 1 + 5 + 1]
    assert lengths.supervised.tolist() == [8, 6]


def test_a_family_may_take_shorter_documents_than_a_pack_holds() -> None:
    lengths = measure(columns([(7, [(28, 28)]), (9, [(28, 28)])]), family=Squares(max_document_tokens=12))
    assert lengths.tokens.tolist() == [11, 13]
    assert lengths.reject.tolist() == [Reject.ACCEPTED, Reject.TOO_MANY_TOKENS]


def test_a_row_that_starts_with_text_says_so_by_its_column() -> None:
    data = columns([(7, [(28, 28)]), (7, [(28, 28)])])
    data.starts_with_text = np.array([True, False])
    assert measure(data).supervised.tolist() == [7, 8]


@pytest.mark.parametrize("policy", POLICIES, ids=lambda policy: policy.kind)
@given(st.lists(st.lists(st.tuples(st.integers(1, 400), st.integers(1, 400)), max_size=3), min_size=1, max_size=20))
@settings(deadline=None, max_examples=40)
def test_as_one_sample_at_a_time(policy: TilingPolicy, sizes: list[list[tuple[int, int]]]) -> None:
    lengths = measure(columns([(3, images) for images in sizes]), tiling=policy)
    family = Squares()
    for place, images in enumerate(sizes):
        tokens = patches = 0
        for size in images:
            plan = plan_tiles(*size, policy)
            ids, cost = family.image_cost(*np.array(plan.sizes).T)
            tokens += int(ids.sum()) + sum(len(piece) for piece in tile_text_pieces(len(plan.boxes), plan.labels))
            patches += int(cost.sum())
        assert lengths.tokens[place] == tokens + 3 + 1
        assert lengths.patches[place] == patches


def test_reasons() -> None:
    data = columns(
        [
            (0, [(28, 28)]),  # no text
            (5, [(3000, 3000)]),  # more than max_pixels
            (5, [(28, 28), (13, 28)]),  # a width that the family refuses
            (9_999, [(28, 28)]),  # too long
            (5, [(1400, 1400), (1400, 1400)]),  # 5,000 patches
            (0, [(3000, 3000)]),  # several reasons: the first counts
            (5, [(1, 20_000_000)]),  # beyond the tiling rules' longest side
            (5, [(0, 28)]),  # no pixel
            (5, [(28, 28)]),
        ]
    )
    lengths = measure(data, family=Squares(refused_width=13), max_pixels=8_000_000, max_patches=4_999)
    assert [Reject(code).reason for code in lengths.reject.tolist()] == [
        "empty text",
        "too many pixels",
        "image size refused",
        "too many tokens",
        "too many patches",
        "empty text",
        "too many pixels",
        "image size refused",
        "accepted",
    ]


def test_downscaled_to_the_largest_size_that_fits() -> None:
    data = columns([(10, [(2800, 2800)]), (10, [(280, 280)]), (20_000, [(2800, 2800)]), (20_000, [])])
    lengths = measure(data, max_patches=2_000, overlength="downscale")
    # 44 patches a side are the most under 2,000: 1,232 pixels; 2800 * 28 / 64 is 1,225, and 29 / 64 is 1,269
    assert lengths.scale.tolist() == [28, 64, 64, 64]
    assert lengths.patches.tolist()[:2] == [44 * 44, 100]
    assert lengths.tokens.tolist()[0] == 44 * 44 // 4 + 2 + 10 + 1
    assert lengths.reject.tolist() == [0, 0, Reject.TOO_MANY_TOKENS, Reject.TOO_MANY_TOKENS]
    width, height = scaled_size(2800, 2800, 28)
    again = measure(columns([(10, [(width, height)])]))
    assert (again.tokens[0], again.patches[0]) == (lengths.tokens[0], lengths.patches[0])
    assert again.vision_cost[0] == lengths.vision_cost[0]


def test_scaled_size() -> None:
    assert scaled_size(100, 3, 64) == (100, 3)
    assert scaled_size(100, 3, 32) == (50, 2)
    assert scaled_size(100, 3, 1) == (2, 1)


def test_filters_and_curriculum_by_epoch() -> None:
    data = columns([(7, [(56, 28)]), (5, []), (9, [(28, 28), (29, 28)]), (0, [])])
    data.metadata["language"] = np.array(["en", "de", "en", "de"])
    codes = {
        epoch: measure(
            data,
            where="language == 'en' or num_images < 1",
            curriculum=[{"epochs": 2, "where": "tokens < 12"}],
            epoch=epoch,
        ).reject.tolist()
        for epoch in (0, 1, 2)
    }
    assert codes == {0: [0, 0, 1, 2], 1: [0, 0, 1, 2], 2: [0, 0, 0, 2]}
    assert measure(data, where="language == 'fr'").reject.tolist() == [0, 0, 0, 2]  # without epoch no filter


def test_columns_of_a_filter() -> None:
    data = columns([(7, [(56, 28)]), (5, []), (9, [(28, 28), (29, 30)])])
    for expression, expected in {
        "width == 56 and height == 28": [0, 1, 1],
        "width == 0": [1, 0, 1],
        "pixels == 28 * 28 + 29 * 30": [1, 1, 0],
        "text_tokens * 4 == text_bytes and text_chars < 27": [0, 0, 1],
        "patches == 2 or patches == 0": [0, 0, 1],
        "dataset == 'books'": [0, 0, 0],
        "dataset in ['slides']": [1, 1, 1],
    }.items():
        assert measure(data, where=expression, epoch=0).reject.tolist() == expected, expression
    text_only = measure(columns([(7, []), (5, [])]), where="width > 0", epoch=0)
    assert text_only.reject.tolist() == [1, 1]


def test_sizes_are_forgotten_when_there_are_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wdstream.plan.sample_lengths.MAX_KNOWN_SIZES", 50)
    data = pages(400)
    made = PlanSettings(sequence_length=10_000, max_patches=10_000, global_batch_size=1)
    planned = Mixture([Dataset(columns=data, name="x")], Squares(), UNTILED, made).planned[0]
    parts = [planned.measure(np.arange(start, start + 20))[0] for start in range(0, 400, 20)]
    expected = measure(data)
    assert np.concatenate([part.tokens for part in parts]).tolist() == expected.tokens.tolist()


def test_a_table_of_few_sizes_forgets_and_gives_the_same() -> None:
    few, many = ImageCostTable(Squares(), UNTILED, max_sizes=3), ImageCostTable(Squares(), UNTILED)
    for sides in np.random.default_rng(0).integers(1, 99, (200, 2, 2)):
        costs, expected = (table.look_up(*sides) for table in (few, many))
        assert costs.tokens.tolist() == expected.tokens.tolist()
        assert len(few._known[0]) <= 3 + 2


def test_one_page_is_arrays_of_one() -> None:
    data = pages(50, text=(0, 130))
    limits = LengthLimits(max_tokens=128, max_patches=60, max_pixels=30_000, downscale=True)
    estimator = LengthEstimator(Squares(), UNTILED, limits)
    expected = measure(data, sequence_length=128, max_patches=60, max_pixels=30_000, overlength="downscale")
    for row, [(width, height)] in enumerate(data.sizes):
        sizes = SampleSizes(
            text_tokens=data.text_tokens[[row]],
            num_images=np.array([1]),
            widths=np.array([width]),
            heights=np.array([height]),
        )
        lengths = estimator.estimate(sizes)
        for name in ("tokens", "patches", "supervised", "vision_cost", "scale", "reject"):
            assert getattr(lengths, name).tolist() == [getattr(expected, name)[row]]
