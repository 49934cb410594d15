"""Streams without an index, at random: every byte of every step is the same on any world, threads and resume."""

import io
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import fsspec
import pytest
import webdataset
from PIL import Image

from wdstream.errors import StateError
from wdstream.families.registry import load_family
from wdstream.nodes.lane import LaneSettings
from wdstream.pipeline.streamed import Lanes
from wdstream.pixels.settings import PixelSettings
from wdstream.records import World
from wdstream.runs.digest import join_digests, pack_digests
from wdstream.testing import make_tiny_model
from wdstream.tiling.policy import TilingPolicy

STEPS = 9


@pytest.fixture(scope="module")
def lanes(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Lanes:
    """7 tars of 5 small pages in 4 lanes; the data end within the steps that are compared."""
    folder = tmp_path_factory.mktemp("lanes")
    draw = random.Random(3)
    urls = []
    for shard in range(7):
        urls.append(str(folder / f"{shard}.tar"))
        with webdataset.TarWriter(urls[-1]) as writer:
            for number in range(5):
                file = io.BytesIO()
                size = draw.randint(20, 120), draw.randint(20, 120)
                Image.effect_noise(size, 80).convert("RGB").save(file, "JPEG")
                writer.write({"__key__": f"{number}", "jpg": file.getvalue(), "txt": "word " * draw.randint(1, 40)})
    settings = LaneSettings(
        family=load_family(tiny_model),
        tiling=TilingPolicy(kind="none"),
        sequence_length=120,
        max_patches=200,
        global_batch_size=4,
        lanes=4,
        pool=3,
        shuffle=4,
        epochs=1,
    )
    return Lanes(urls=urls, settings=settings)


def run(
    lanes: Lanes, steps: int, state: dict[str, Any] | None, *, size: int, micro: int, **settings: Any
) -> tuple[list[str], dict[str, Any]]:
    """The digests of the next steps on `size` ranks, and the state after them."""
    packs: dict[int, str] = {}
    states = []
    for rank in range(size):
        world = World(rank=rank, size=size)
        with lanes.loader(world=world, state=state, micro_batch_size=micro, **settings) as loader:
            for _ in range(steps * 4 // (size * micro)):
                packs |= pack_digests(next(loader))
            states.append(loader.state_dict())
    begin = min(packs, default=0)
    digests = [
        join_digests({number: packs[number] for number in range(first, first + 4)})
        for first in range(begin, begin + 4 * steps, 4)
    ]
    return digests, lanes.saved_state(states)


@pytest.fixture(scope="module")
def whole(lanes: Lanes) -> list[str]:
    digests, _ = run(lanes, STEPS, None, size=1, micro=1, workers=0, prefetch=0)
    assert len(set(digests[:-1])) >= 6  # at the end all packs are empty
    return digests


@pytest.mark.parametrize("seed", range(8))
def test_random_topologies(lanes: Lanes, whole: list[str], seed: int) -> None:
    draw = random.Random(seed)
    found: list[str] = []
    state = None
    while len(found) < STEPS:
        size = draw.choice([1, 2, 4])
        micro = draw.choice([count for count in (1, 2, 4) if 4 % (size * count) == 0])
        steps = min(draw.randint(1, 4), STEPS - len(found))
        part, state = run(
            lanes, steps, state, size=size, micro=micro, workers=draw.randint(0, 3), prefetch=draw.randint(0, 3)
        )
        found += part
        assert state["step"] == len(found)
    assert found == whole


def test_a_run_continues_where_the_tars_moved_to_an_object_store(lanes: Lanes, whole: list[str]) -> None:
    before, state = run(lanes, 3, None, size=2, micro=1)
    files = fsspec.filesystem("memory")
    files.pipe({f"/bucket/{Path(url).name}": Path(url).read_bytes() for url in lanes.urls})
    try:
        there = Lanes(urls=[f"memory://bucket/{Path(url).name}" for url in lanes.urls], settings=lanes.settings)
        there.check(state)
        after, _ = run(there, STEPS - 3, state, size=1, micro=2)
    finally:
        files.rm("/bucket", recursive=True)
    assert before + after == whole


def test_family_and_tiling_are_fitted_as_a_plans_are(lanes: Lanes, tmp_path: Path) -> None:
    splits = load_family(make_tiny_model(tmp_path / "tiny", family="smolvlm", vocab_size=1024))
    adaptive = lanes.settings.replace(family=splits, tiling=TilingPolicy(kind="adaptive"))
    fitted = Lanes(urls=lanes.urls, settings=adaptive).settings
    assert isinstance(fitted.tiling, TilingPolicy)
    assert (fitted.tiling.multiple, fitted.tiling.max_tile_pixels, fitted.tiling.tile_size) == (512, 512 * 512, 512)
    whole = Lanes(urls=lanes.urls, settings=lanes.settings.replace(family=splits)).settings
    assert isinstance(whole.tiling, TilingPolicy)
    assert whole.tiling.kind == "none"
    assert whole.family.fingerprint == splits.for_whole_images().fingerprint != splits.fingerprint


def test_states_of_other_streams_are_refused(lanes: Lanes) -> None:
    _, state = run(lanes, 1, None, size=2, micro=1)
    with pytest.raises(StateError, match="the list of shards differs"):
        Lanes(urls=lanes.urls[:-1], settings=lanes.settings).check(state)
    with pytest.raises(StateError, match=r"pixels: expected None as in the state, found \w+; how images become tiles"):
        replace(lanes, pixels=PixelSettings(decode="scaled")).check(state)
    with pytest.raises(StateError, match="the saved state is a plan's"):
        lanes.check({"version": 1, "step": 3, "round": 0})
    with lanes.loader(workers=0, prefetch=0) as loader, pytest.raises(StateError, match="that of one rank's loader"):
        lanes.loader(state=loader.state_dict())
    with pytest.raises(StateError, match="belong to different packs"):
        lanes.saved_state([state, {**state, "next_pack": 8}])
