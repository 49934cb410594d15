"""Nodes check their arguments when they are made, not when the first item is asked for.

Spans: nodes.
"""

from typing import Any

import pytest

from wdstream.families.base import Family
from wdstream.nodes import (
    Collate,
    Decode,
    EstimateLength,
    Items,
    Label,
    Loader,
    Map,
    Pack,
    Prefetch,
    ReadShards,
    ReadTars,
    Shuffle,
    Tile,
)
from wdstream.tiling.policy import TilingPolicy

NODE = "expected a node to read from, found "
WRONG: list[tuple[Any, Any, dict[str, Any], str]] = [
    (Decode, [1, 2], {}, rf"Decode: {NODE}\[1, 2\]; a list is one as Items"),
    (Decode, Items([]), {"max_pixels": 0}, "Decode: max_pixels=0, expected 1 or more"),
    (Decode, Items([]), {"rules": {}}, r"Decode: rules={}, expected RowRules\(...\)"),
    (Decode, Items([]), {"max_skipped": -1}, "Decode: max_skipped=-1, expected None"),
    (ReadTars, ["x.tar"], {"keys": "dot"}, "ReadTars: keys='dot', expected one of 'webdataset', 'dotted'"),
    (Map, None, {"function": str}, f"Map: {NODE}None"),
    (Label, Label, {}, f"Label: {NODE}<class"),
    (Shuffle, range(3), {}, rf"Shuffle: {NODE}range\(0, 3\)"),
    (Prefetch, iter([]), {}, f"Prefetch: {NODE}<list_iterator"),
    (Pack, [], {"sequence_length": 9}, rf"Pack: {NODE}\[\]"),
    (Loader, "graph", {}, f"Loader: {NODE}'graph'"),
    (ReadTars, "x.tar", {}, "ReadTars: urls: expected a list of paths or addresses .* found 'x.tar'"),
    (ReadTars, [1], {}, r"ReadTars: urls: expected a list .* found \[1\]"),
    (ReadShards, "shards", {}, r"ReadShards: expected Shards.open\(...\), found 'shards'"),
    (Items, iter([]), {}, "Items: expected something with a length and places"),
    (Tile, Items([]), {"policy": "adaptive"}, "Tile: policy: expected TilingPolicy.* found 'adaptive'"),
    (EstimateLength, Items([]), {"family": "m"}, "EstimateLength: family: expected load_family.* found 'm'"),
    (Collate, Items([]), {"family": "m"}, r"Collate: family: expected load_family\(...\), found 'm'"),
]


@pytest.mark.parametrize(("node", "source", "more", "message"), WRONG)
def test_wrong_arguments_are_one_line(node: Any, source: Any, more: dict[str, Any], message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        node(source, **more)


def test_right_ones_are_taken(families: dict[str, Family]) -> None:
    tiled = Tile(Decode(Items([])), policy=TilingPolicy(kind="none"))
    samples = EstimateLength(Label(tiled), family=families["qwen2_5_vl"])
    assert list(Loader(Collate(Pack(samples, sequence_length=9), family=families["qwen2_5_vl"]))) == []
