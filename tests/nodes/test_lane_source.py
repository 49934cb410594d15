"""LaneSource on tars that plain webdataset wrote: one sequence of packs for every world, exact resume across worlds."""

import io
import itertools
import json
import random
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pytest
import webdataset
from PIL import Image

from wdstream.errors import PlanError, ShardError, StateError
from wdstream.families.base import Family
from wdstream.nodes.lane import LaneSettings, LaneShards
from wdstream.nodes.lane_source import LanePack, LaneSource, merge_lane_states
from wdstream.nodes.mapper import Map
from wdstream.nodes.measure import MeasuredPage, PageMeasurer
from wdstream.nodes.node import State
from wdstream.nodes.tile import TileRenderer
from wdstream.pipeline.build_pack import PackBuilder
from wdstream.pipeline.streamed import lane_slots
from wdstream.records import ImageSegment, Page, TextSegment, World
from wdstream.testing import assert_resumes_exactly
from wdstream.tiling.policy import TilingPolicy

TILING = TilingPolicy(kind="grid", grid=(2, 1), tile_size=56)
SHARDS, PAGES = 5, 6


def page_image(size: tuple[int, int], number: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size, (number * 7 % 256, 90, 200)).save(file, "PNG")
    return file.getvalue()


@pytest.fixture(scope="module")
def urls(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """5 tars of 6 pages; the third page of each is not an image."""
    folder = tmp_path_factory.mktemp("foreign")
    draw = random.Random(0)
    paths = []
    for shard in range(SHARDS):
        path = folder / f"{shard}.tar"
        with webdataset.TarWriter(str(path)) as writer:
            for number in range(PAGES):
                size = draw.randint(30, 200), draw.randint(30, 200)
                data = b"no image" if number == 2 else page_image(size, shard * PAGES + number)
                text = "word " * draw.randint(1, 40)
                writer.write({"__key__": f"s{shard}p{number}", "png": data, "txt": text})
        paths.append(str(path))
    return paths


def make_settings(family: Family, lanes: int = 4) -> LaneSettings:
    return LaneSettings(
        family=family,
        tiling=TILING,
        sequence_length=150,
        max_patches=150,
        global_batch_size=8,
        lanes=lanes,
        pool=3,
        shuffle=4,
        seed=5,
    )


def make_builder(family: Family, known_bad: Mapping[str, str] = MappingProxyType({})) -> PackBuilder[LanePack]:
    read = partial(lane_slots, global_batch_size=8, known_bad=known_bad)
    return PackBuilder(family=family, renderer=TileRenderer(tiling=TILING), read=read)


def keys(pack: LanePack) -> list[str]:
    """Keys as they are in the tars; the lane puts the shard's name before them."""
    names, found = zip(*(page.key.rsplit("/", 1) for page in pack.pages), strict=True) if pack.pages else ((), ())
    assert all(name.endswith(f"{key[1]}.tar") for name, key in zip(names, found, strict=True))
    return list(found)


def run(
    urls: list[str], settings: LaneSettings, *, size: int, packs: int, state: State | None
) -> tuple[dict[int, list[str]], State]:
    """The next `packs` packs of each of `size` ranks, by number, and the merged state after them."""
    found: dict[int, list[str]] = {}
    states = []
    for rank in range(size):
        source = LaneSource(urls, settings=settings, world=World(rank=rank, size=size))
        source.reset(state)
        found |= {pack.number: keys(pack) for pack in itertools.islice(source, packs)}
        states.append(source.state_dict())
        source.close()
    return found, merge_lane_states(states)


def test_the_same_packs_on_every_world(urls: list[str], family: Family) -> None:
    settings = make_settings(family)
    whole, _ = run(urls, settings, size=1, packs=24, state=None)
    assert sorted(whole) == list(range(24))
    for size in (2, 4):
        assert run(urls, settings, size=size, packs=24 // size, state=None)[0] == whole


def test_resume_on_other_worlds_continues_exactly(urls: list[str], family: Family) -> None:
    settings = make_settings(family)
    whole, _ = run(urls, settings, size=1, packs=32, state=None)
    found: dict[int, list[str]] = {}
    state: State | None = None
    for size, packs in ((4, 2), (2, 4), (1, 8), (4, 2)):  # 8 packs each time
        part, state = run(urls, settings, size=size, packs=packs, state=state)
        found |= part
    assert found == whole


def test_every_page_once_in_each_epoch_of_the_lanes(urls: list[str], family: Family) -> None:
    source = LaneSource(urls, settings=make_settings(family, lanes=1))
    good = [f"s{shard}p{number}" for shard in range(SHARDS) for number in range(PAGES) if number != 2]
    seen: list[str] = []
    while len(seen) < 4 * len(good):
        seen += keys(next(source))
    counts = {key: seen.count(key) for key in good}
    assert set(seen) == set(good)
    assert max(counts.values()) - min(counts.values()) <= 2  # the pool may hold one back
    source.close()


def test_resumes_exactly_at_every_pack(urls: list[str], family: Family) -> None:
    settings = make_settings(family, lanes=2)
    packs = assert_resumes_exactly(lambda: LaneSource(urls, settings=settings), max_items=9)
    assert [pack.number for pack in packs] == list(range(9))


def test_each_shard_is_in_one_lane_of_an_epoch() -> None:
    names = [str(number) for number in range(7)]
    lanes = [LaneShards(names, lane=lane, lanes=3, seed=1) for lane in range(3)]
    for epoch in range(4):
        shards = [
            lane[epoch * share + place] for lane, share in zip(lanes, (3, 2, 2), strict=True) for place in range(share)
        ]
        assert sorted(shards) == names
    assert [lanes[0][place] for place in range(3)] != [lanes[0][place] for place in range(3, 6)]
    assert [lanes[0][place] for place in range(6)] == ["2", "4", "6", "6", "1", "4"]


def test_the_order_of_an_epoch_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of 100,000 shards is found at once, after one sort per epoch; from any thread and in any epoch."""
    sorted_epochs: list[int] = []
    sort = LaneShards._order

    def counted(self: LaneShards, epoch: int) -> list[int]:
        sorted_epochs.append(epoch)
        return sort(self, epoch)

    monkeypatch.setattr(LaneShards, "_order", counted)
    names = [str(number) for number in range(100_000)]
    lane = LaneShards(names, lane=3, lanes=8, seed=1)
    epoch = [lane[place] for place in range(lane.share)]
    assert sorted_epochs == [0]
    assert len(set(epoch)) == lane.share == 12_500
    few = LaneShards(names[:50], lane=1, lanes=3, seed=2)
    expected = [few[place] for place in range(10 * few.share)]
    places = [epoch * few.share + place for place in range(few.share) for epoch in range(10)]  # a sort each time
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(few.__getitem__, places * 20)) == [expected[place] for place in places] * 20


def test_the_packs_never_change(urls: list[str], family: Family) -> None:
    # If this fails, every running job would continue with other packs: raise STREAM_VERSION (pipeline/streamed.py).
    source = LaneSource(urls, settings=make_settings(family))
    found = " ".join("+".join(keys(pack)) for pack in itertools.islice(source, 10))
    assert found == "s0p1+s0p0 s2p1 s1p1+s1p3 s4p1 s0p3+s3p1 s2p0 s1p0 s4p0 s3p0+s0p4 s2p3"
    source.close()


def test_lengths_are_those_of_the_built_pack(urls: list[str], family: Family) -> None:
    source = LaneSource(urls, settings=make_settings(family))
    builder = make_builder(family)
    encoded = list(itertools.islice(Map(source, builder, workers=2), 8))
    source.reset()
    assert [entry.step for entry in encoded] == [0] * 8
    for pack, built in zip(source, encoded, strict=False):
        assert built.number == pack.number
        assert built.lengths == tuple(page.tokens for page in pack.pages)
        assert len(built.pixels["pixel_values"]) == sum(page.patches for page in pack.pages) <= 150
        assert len(built.input_ids) <= 150
        assert [failure.key for failure in built.failures] == [page.key for page in pack.bad]
    source.close()


def replace_key(page: MeasuredPage, key: str) -> MeasuredPage:
    return replace(page, page=replace(page.page, key=key))


def test_a_page_that_fails_after_its_header_keeps_its_slot(family: Family) -> None:
    builder = make_builder(family)
    rng = np.random.default_rng(0)
    file = io.BytesIO()
    Image.fromarray(rng.integers(0, 256, (90, 120, 3), dtype=np.uint8)).save(file, "PNG")
    data = file.getvalue()
    segments = (ImageSegment(index=0), TextSegment(text="Some words of text."))
    measure = PageMeasurer(family, TILING, make_settings(family).replace(max_patches=10_000).limits)
    good, cut = (
        measure(Page(key=key, images=(image,), segments=segments))
        for key, image in (("good", data), ("cut", data[:2000]))
    )
    assert (good.tokens, good.patches) == (cut.tokens, cut.patches)
    healthy = builder(LanePack(number=3, pages=(good, good)))
    damaged = builder(LanePack(number=3, pages=(cut, good)))
    assert damaged.lengths == healthy.lengths
    first = good.tokens
    np.testing.assert_array_equal(damaged.input_ids[first:], healthy.input_ids[first:])
    np.testing.assert_array_equal(
        damaged.pixels["pixel_values"][good.patches :], healthy.pixels["pixel_values"][good.patches :]
    )
    np.testing.assert_array_equal(damaged.position_ids[:, first:], healthy.position_ids[:, first:])
    assert (damaged.labels[:first] == -100).all()
    assert (damaged.pixels["pixel_values"][: good.patches] == 255).all()
    assert [failure.key for failure in damaged.failures] == ["cut"]
    assert "page 'cut', image 0: PNG image cannot be decoded" in damaged.failures[0].reason
    known = make_builder(family, {"cut": "torn"})(LanePack(number=3, pages=(replace_key(good, "cut"), good)))
    assert [(failure.key, failure.reason) for failure in known.failures] == [("cut", "torn")]
    np.testing.assert_array_equal(known.pixels["pixel_values"], damaged.pixels["pixel_values"])
    np.testing.assert_array_equal(known.labels, damaged.labels)


def test_wrong_worlds_lanes_and_states(urls: list[str], family: Family) -> None:
    settings = make_settings(family)
    with pytest.raises(PlanError, match="global_batch_size 8 cannot be divided by 3 ranks"):
        LaneSource(urls, settings=settings, world=World(rank=0, size=3))
    with pytest.raises(PlanError, match="5 shards for 8 lanes"):
        LaneSource(urls, settings=make_settings(family, lanes=8))
    with pytest.raises(PlanError, match=r"6 is not a multiple of 4 lanes: .* use 2 lanes, or leave epochs out"):
        LaneSource(urls, settings=settings.replace(global_batch_size=6, epochs=1))
    half = LaneSource(urls, settings=settings, world=World(rank=0, size=2))
    next(half)
    with pytest.raises(StateError, match="the saved state has the lanes 0, 2; rank 0 of 1 needs lane 1"):
        LaneSource(urls, settings=settings).reset(half.state_dict())
    other = LaneSource(urls, settings=settings, world=World(rank=1, size=2))
    with pytest.raises(StateError, match=r"belong to different packs, \[0, 2\]"):
        merge_lane_states([half.state_dict(), other.state_dict()])
    next(other)
    merged = merge_lane_states([half.state_dict(), other.state_dict()])
    with pytest.raises(StateError, match="after 2 packs, in the middle of the packs of 4 ranks"):
        LaneSource(urls, settings=settings, world=World(rank=0, size=4)).reset(merged)
    half.close()
    other.close()


def test_pipes_and_missing_shards(urls: list[str], family: Family, tmp_path: Path) -> None:
    settings = make_settings(family, lanes=1)
    piped = LaneSource([f"pipe:cat {url}" for url in urls], settings=settings)
    plain = LaneSource(urls, settings=settings)
    assert [keys(pack) for pack in itertools.islice(piped, 6)] == [keys(pack) for pack in itertools.islice(plain, 6)]
    piped.close()
    plain.close()


def test_lanes_that_are_through_give_empty_packs(urls: list[str], family: Family) -> None:
    """With 5 shards in 4 lanes; what was left out is reported once, also after a resume at any pack."""
    settings = make_settings(family).replace(epochs=1)
    packs = list(itertools.islice(LaneSource(urls, settings=settings), 40))
    assert sorted(key for pack in packs for key in keys(pack)) == sorted(
        f"s{shard}p{number}" for shard in range(SHARDS) for number in range(PAGES) if number != 2
    )
    assert [len(pack.pages) for pack in packs[-8:]] == [0] * 8
    told = [failure.key for pack in packs for failure in pack.bad]
    assert sorted(told) == [f"{shard}.tar/s{shard}p2" for shard in range(SHARDS)]
    assert_resumes_exactly(lambda: LaneSource(urls, settings=settings), max_items=28)


def test_a_lane_without_a_usable_page_is_an_error_not_a_search_without_end(tmp_path: Path, family: Family) -> None:
    paths = []
    for shard in range(2):
        paths.append(str(tmp_path / f"{shard}.tar"))
        with webdataset.TarWriter(paths[-1]) as writer:
            writer.write({"__key__": "a", "png": b"no image", "txt": "text"})
    source = LaneSource(paths, settings=make_settings(family, lanes=1))
    with pytest.raises(ShardError, match="lane 0: no page of its 2 shards can be trained on"):
        next(source)


def test_the_state_is_small(tmp_path: Path, family: Family) -> None:
    """8 lanes with pools of 16 pages: what one file holds for every number of ranks."""
    paths = []
    for shard in range(8):
        paths.append(str(tmp_path / f"{shard}.tar"))
        with webdataset.TarWriter(paths[-1]) as writer:
            for number in range(60):
                writer.write({"__key__": f"s{shard}p{number}", "txt": "word " * (1 + number * 7 % 50)})
    settings = make_settings(family, lanes=8).replace(pool=16, shuffle=64)
    _, whole = run(paths, settings, size=1, packs=64, state=None)
    _, parts = run(paths, settings, size=4, packs=16, state=None)
    text = json.dumps(whole, separators=(",", ":"))
    assert text == json.dumps(parts, separators=(",", ":"))
    assert len(text) < 2048


def test_lanes_of_fewer_pages_than_are_shuffled_together(urls: list[str], family: Family) -> None:
    """Of the 4 good pages of a shard, 64 are shuffled together: the lane goes round its shard many times for them."""
    settings = make_settings(family).replace(shuffle=64)
    source = LaneSource(urls, settings=settings)
    packs = list(itertools.islice(source, 80))
    source.close()
    assert {key for pack in packs for key in keys(pack)} == {
        f"s{shard}p{number}" for shard in range(SHARDS) for number in range(PAGES) if number != 2
    }


def test_a_lane_of_empty_tars_is_an_error(tmp_path: Path, family: Family) -> None:
    path = tmp_path / "0.tar"
    webdataset.TarWriter(str(path)).close()
    source = LaneSource([str(path)], settings=make_settings(family, lanes=1))
    with pytest.raises(ShardError, match="lane 0: no page of its 1 shards can be trained on"):
        next(source)
