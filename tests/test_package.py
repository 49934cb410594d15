"""What the packages offer by name.

Spans: nodes, testing, make_shards
"""

from importlib import import_module

import pytest


@pytest.mark.parametrize("name", ["wdstream", "wdstream.nodes", "wdstream.testing", "wdstream.make_shards"])
def test_dir_lists_the_public_names_and_no_others(name: str) -> None:
    package = import_module(name)
    assert dir(package) == sorted(package.__all__)
    assert all(getattr(package, public) is not None for public in dir(package))
