"""Types of JSON values: that which holds all of them, as Arrow and `datasets` have it."""

import datasets
import pytest
import yaml

from wdstream.curation.resharding.value_types import (
    arrow_type,
    declared,
    feature_of,
    merge_all,
    settled,
    tree_of,
    type_from_tree,
    type_of,
)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([None], "null"),
        ([1, None, 2], "int"),
        ([1, 2.5], "float"),
        ([1 << 60, 2.5], "json"),
        ([1 << 64], "json"),
        ([True, 1], "json"),
        (["a", 1], "json"),
        ([[], [1], [2.5]], ["float"]),
        ([[1], "a"], "json"),
        ([{"a": 1}, {"b": [{"c": "x"}]}, {}], {"a": "int", "b": [{"c": "text"}]}),
        ([{"a": 1}, [1]], "json"),
    ],
)
def test_one_type_holds_all_values(values: list[object], expected: object) -> None:
    found = merge_all(map(type_of, values))
    assert tree_of(found) == expected
    assert tree_of(merge_all(map(type_of, reversed(values)))) == expected
    assert type_from_tree(tree_of(found)) == found


def test_an_object_with_a_field_of_several_kinds_is_json_itself() -> None:
    chat = [{"role": "user", "content": [{"type": "image"}]}, {"role": "assistant", "content": "42"}]
    found = settled(type_of({"messages": chat, "b": {"x": {}}, "a": 1}))
    assert tree_of(found) == {"a": "int", "b": {"x": "json"}, "messages": ["json"]}


def test_arrow_and_datasets_agree() -> None:
    value = {"a": 1, "b": ["x"], "c": [{"y": 0.5, "z": [True]}], "e": None, "f": {}, "l": [[1], []]}
    found = settled(type_of(value))
    features = datasets.Features.from_dict({"column": feature_of(found)})
    assert features.arrow_schema.field("column").type == arrow_type(found)
    listed = yaml.safe_load(yaml.safe_dump([{"name": "column", **declared(found)}]))
    assert datasets.Features._from_yaml_list(listed) == features
