"""Evaluation sets: those that cannot be told apart are refused, instead of measured once or as training data."""

from typing import Any

import pytest

from wdstream.config.schema import Config
from wdstream.errors import ConfigError
from wdstream.train.evaluate.sets import plan_sets


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ([{"path": "/a/held"}, {"path": "/b/held"}], "two sets are named 'held': give each its own `name:`"),
        ([{"path": "/a/train"}], "a set is named 'train', as what is trained on is"),
    ],
)
def test_sets_with_one_name_are_refused(entries: list[dict[str, Any]], message: str) -> None:
    config = Config.of({"model": {"path": "none"}, "data": {"train": [{"path": "/data/t"}], "eval": entries}})
    with pytest.raises(ConfigError, match=message):
        plan_sets(config, world_size=1)
