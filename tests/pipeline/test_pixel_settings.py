"""`data.decode`, `data.pixels`, `data.tile_cache` through the whole stream: what changes, what must not.

Spans: config, pixels, pipeline.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from wdstream.batches.batch import Batch
from wdstream.config.build import plan_from_config
from wdstream.config.schema import Config
from wdstream.errors import ConfigError, StateError
from wdstream.pipeline.planned import Plan
from wdstream.pixels.cache_usage import entries_of
from wdstream.pixels.settings import PixelSettings, TileCacheSettings
from wdstream.runs.digest import digest

MakeConfig = Callable[..., Config]


def batches_of(plan: Plan, **settings: Any) -> list[Batch]:
    with plan.loader(**settings) as loader:
        return list(loader)


def test_the_defaults_leave_the_state_as_it_is(stream_config: MakeConfig, small_shards: Path) -> None:
    plan = plan_from_config(stream_config(small_shards))
    assert plan.pixels == PixelSettings()
    assert "pixels" not in plan.fingerprints


@pytest.mark.parametrize(
    ("setting", "fingerprint"), [({"decode": "scaled"}, "scaled"), ({"pixels": "reference"}, "reference")]
)
def test_a_run_does_not_continue_with_other_pixels(
    stream_config: MakeConfig, small_shards: Path, setting: dict[str, Any], fingerprint: str
) -> None:
    default, other = (plan_from_config(stream_config(small_shards, **data)) for data in ({}, setting))
    assert other.fingerprints == {**default.fingerprints, "pixels": fingerprint}
    saved = default.initial_state().to_json()
    with pytest.raises(StateError, match=f"pixels: .*found {fingerprint}; how images become tiles: data.decode"):
        other.resume(saved)
    assert other.resume(saved, on_change="keep").fingerprints == other.fingerprints
    with pytest.raises(StateError, match="pixels: expected"):
        default.resume(other.initial_state())


def test_reference_pixels_come_in_the_same_batches(stream_config: MakeConfig, shipped_shards: Path) -> None:
    fast, reference = (
        plan_from_config(stream_config(shipped_shards, sequence_length=4096, pixels=pixels))
        for pixels in ("fast", "reference")
    )
    for ours, theirs in zip(batches_of(fast), batches_of(reference), strict=True):
        assert ours["keys"] == theirs["keys"]
        assert torch.equal(ours["input_ids"], theirs["input_ids"])
        assert theirs["pixel_values"].dtype == torch.float32
        inputs = [
            plan.family.model_inputs(batch, device="cpu", dtype=torch.float32)
            for plan, batch in ((fast, ours), (reference, theirs))
        ]
        if "pixel_values" in inputs[0]:
            difference = (inputs[0]["pixel_values"] - inputs[1]["pixel_values"]).abs()
            assert float(difference.mean()) < 0.005


def test_a_cache_changes_no_byte(stream_config: MakeConfig, shipped_shards: Path, tmp_path: Path) -> None:
    data = {"sequence_length": 2048, "tile_cache": {"path": tmp_path / "tiles", "max_bytes": 10**9}}
    plain, cached = (stream_config(shipped_shards, **settings) for settings in ({"sequence_length": 2048}, data))
    steps = range(plan_from_config(plain).total_steps() or 0)
    wanted = list(digest(plain, steps=steps, world=1, workers=2, resume_at=None))
    cold = list(digest(cached, steps=steps, world=1, workers=2, resume_at=None))
    kept = {entry.path: entry.path.stat().st_mtime_ns for entry in entries_of(tmp_path / "tiles")}
    warm = list(digest(cached, steps=steps, world=2, workers=1, resume_at=1))
    assert wanted == cold == warm
    assert len(kept) > 10
    assert kept == {entry.path: entry.path.stat().st_mtime_ns for entry in entries_of(tmp_path / "tiles")}


def test_labels_are_no_part_of_the_key(stream_config: MakeConfig, small_shards: Path, tmp_path: Path) -> None:
    tiling = {"kind": "shape_buckets", "tile_size": 84, "overview_size": 56}
    data = {"tile_cache": {"path": tmp_path, "max_bytes": 10**9}}
    for labels in ("text", "none"):
        batches_of(plan_from_config(stream_config(small_shards, tiling={**tiling, "labels": labels}, **data)))
    assert len(list(tmp_path.glob("v2-*"))) == 1
    batches_of(plan_from_config(stream_config(small_shards, tiling={**tiling, "tile_size": 112}, **data)))
    assert len(list(tmp_path.glob("v2-*"))) == 2


def test_a_page_that_fails_is_not_kept(stream_config: MakeConfig, damaged_shards: Path, tmp_path: Path) -> None:
    data = {"tile_cache": {"path": tmp_path, "max_bytes": 10**9}}
    runs = [batches_of(plan_from_config(stream_config(damaged_shards, **data))) for _ in range(2)]
    failures = [{failure.key for batch in run for failure in batch["failures"]} for run in runs]
    assert failures[0] == failures[1]
    assert len(failures[0]) == 2
    assert len(list(entries_of(tmp_path))) == 28


def test_wrong_settings_are_named(stream_config: MakeConfig, small_shards: Path) -> None:
    with pytest.raises(ConfigError, match=r"data\.decode: expected 'exact' or 'scaled', found 'half'"):
        PixelSettings(decode="half")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"data\.pixels: expected 'fast' or 'reference', found 'slow'"):
        PixelSettings(pixels="slow")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"data\.tile_cache\.max_bytes: expected greater than 0, found 0"):
        TileCacheSettings(path=Path("x"), max_bytes=0)
    with pytest.raises(ValidationError, match="max_bytes"):
        stream_config(small_shards, tile_cache={"path": "x"})
