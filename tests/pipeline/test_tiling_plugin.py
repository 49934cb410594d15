"""`tiling: {transform: NAME}`: a run with the tiling of another package is a run with that tiling.

Spans: tiling, config, pipeline.
"""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.helpers.other_tiling import install_tiling
from wdstream.config.build import plan_from_config
from wdstream.config.schema import Config, load_config
from wdstream.errors import ConfigError
from wdstream.runs.digest import digest

MakeConfig = Callable[..., Config]
LIKE_IT = {"kind": "grid", "grid": (3, 2), "tile_size": 64, "overview_size": 32}


def test_steps_are_those_of_the_tiling_it_gives(
    stream_config: MakeConfig, small_shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install_tiling(tmp_path, monkeypatch)
    with_it = stream_config(small_shards, tiling={"transform": "halves", "settings": {"columns": 3}})
    steps = list(digest(with_it, steps=range(2), resume_at=1))
    assert steps == list(digest(stream_config(small_shards, tiling=LIKE_IT), steps=range(2)))
    assert len(steps) == 2
    other = stream_config(small_shards, tiling={"transform": "halves", "settings": {"columns": 2}})
    assert plan_from_config(other).fingerprints["tiling"] != plan_from_config(with_it).fingerprints["tiling"]


def test_one_that_is_not_installed_stops_the_plan(stream_config: MakeConfig, small_shards: Path) -> None:
    with pytest.raises(ConfigError, match="tiling 'thirds': expected one installed package"):
        plan_from_config(stream_config(small_shards, tiling={"transform": "thirds"}))


@pytest.mark.parametrize(
    ("tiling", "message"),
    [
        ("{transform: halves, grid: [2, 2]}", "with transform the keys grid have no meaning"),
        ("{kind: grid, settings: {columns: 2}}", "settings are those of a transform; give its name as transform"),
    ],
)
def test_keys_that_contradict_each_other(tiling: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "cfg.yaml"
    path.write_text(
        "model: {path: m}\ndata: {train: [{path: s}], sequence_length: 8, max_patches: 8, global_batch_size: 1}\n"
        f"tiling: {tiling}\n"
    )
    with pytest.raises(ConfigError, match=message):
        load_config(path)
