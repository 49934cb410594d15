from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from tests.helpers.plan_data import pages
from wdstream.errors import ConfigError
from wdstream.plan.order import by_weight, flatten, mix_keys
from wdstream.plan.protocols import Dataset, Mix

DATA = pages(3)


def leaf(name: str, weight: Any = None, epochs: int = 1) -> Dataset:
    return Dataset(columns=DATA, name=name, weight=weight, epochs=epochs)


def test_weights_become_the_smallest_integers() -> None:
    flat = flatten([leaf("a", 0.1), leaf("b", 0.7), leaf("c", Fraction(1, 5))])
    assert [(each.name, each.weight) for each in flat] == [("a", 1), ("b", 7), ("c", 2)]
    assert by_weight(flat)


def test_nested_mixes_divide_their_weight() -> None:
    inner = Mix(datasets=(leaf("en", 3), leaf("de", 1)), name="web", weight=0.5)
    flat = flatten([leaf("books", 0.5), inner])
    assert [(each.name, each.weight) for each in flat] == [("books", 4), ("web/en", 3), ("web/de", 1)]


def test_nested_epochs_multiply() -> None:
    inner = Mix(datasets=(leaf("en"), leaf("de", epochs=3)), name="web", epochs=2)
    flat = flatten([leaf("books"), Mix(datasets=(inner,), name="all")])
    assert [(each.name, each.epochs) for each in flat] == [("books", 1), ("all/web/en", 2), ("all/web/de", 6)]
    assert not by_weight(flat)


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ([], "no dataset"),
        ([leaf("a", 1), leaf("b")], "datasets 'b' have no weight and others have"),
        ([leaf("a", 0), leaf("b", 1)], "dataset 'a': weight 0: expected a number above 0"),
        ([leaf("a", epochs=0)], "dataset 'a': epochs 0: expected an integer of at least 1"),
        ([leaf("a", 1, epochs=2)], "has both weight and epochs"),
        ([leaf("a"), leaf("a")], "two datasets are named 'a'"),
        ([leaf("a", 0.123456789), leaf("b", 1)], "round them to fewer digits"),
        (
            [Mix(datasets=(leaf("a"), leaf("b")), name="m", weight=1), leaf("c", 1)],
            "has none|have none to divide it by",
        ),
        ([Mix(datasets=(leaf("a", 1), leaf("b", 1)), name="m")], "mix 'm' has no weight, but its datasets have"),
    ],
)
def test_what_cannot_be_mixed(entries: list[Dataset | Mix], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        flatten(entries)


def test_no_dataset_is_ever_far_from_its_share() -> None:
    weights = [5, 3, 1, 1]
    keys, owners = [], []
    for owner, weight in enumerate(weights):
        counts = np.arange(weight * 50)
        keys.append(mix_keys(counts, np.ones_like(counts), weight, 20))
        owners.append(np.full(len(counts), owner))
        assert (np.diff(keys[-1]) > 0).all()
    order = np.concatenate(owners)[np.argsort(np.concatenate(keys), kind="stable")]
    assert order[:10].tolist() == [0, 1, 0, 0, 1, 2, 3, 0, 1, 0]
    for owner, weight in enumerate(weights):
        given = np.cumsum(order == owner)
        share = np.arange(1, len(order) + 1) * weight / sum(weights)
        assert np.abs(given - share).max() <= 1.2
