"""The types of JSON values over many pages, as columns of Arrow, parquet and `datasets` need them declared.

A type is found value by value, so that a field that only the last page has is in it too; what no one type holds is
JSON: text with something else in one place, objects without names or with too many.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import pyarrow

TypeKind = Literal["null", "bool", "int", "float", "text", "list", "object", "json"]
_LARGEST = 1 << 63
_LARGEST_EXACT = 1 << 53
_MAX_NAMES = 256
"""Of an object; with more, its names are data themselves."""
_DTYPES = {"null": "string", "bool": "bool", "int": "int64", "float": "float64", "text": "string"}


@dataclass(frozen=True, slots=True)
class ValueType:
    """A type of JSON values.

    Attributes:
        kind: `null` where nothing but null is known.
        item: type of a list's entries.
        fields: types by name of an object; a value may lack each.
        is_exact: of `int`: whether all were whole numbers that a float holds, too.
    """

    kind: TypeKind = "null"
    item: "ValueType | None" = None
    fields: Mapping[str, "ValueType"] = field(default_factory=dict)
    is_exact: bool = True


NULL = ValueType()
JSON = ValueType("json")


def type_of(value: object) -> ValueType:
    """The type of one value, as `json.loads` gives it."""
    match value:
        case None:
            return NULL
        case bool():
            return ValueType("bool")
        case int():
            return ValueType("int", is_exact=abs(value) <= _LARGEST_EXACT) if abs(value) < _LARGEST else JSON
        case float():
            return ValueType("float")
        case str():
            return ValueType("text")
        case list() | tuple():
            return ValueType("list", item=merge_all(map(type_of, value)))
        case Mapping():
            fields = {str(name): type_of(each) for name, each in value.items()}
            return ValueType("object", fields=fields) if len(fields) <= _MAX_NAMES else JSON
    raise TypeError(f"a {type(value).__name__} is not a value of JSON")


def merge_all(types: Iterable[ValueType]) -> ValueType:
    """The type that holds the values of all."""
    merged = NULL
    for each in types:
        merged = merge(merged, each)
    return merged


def merge(one: ValueType, other: ValueType) -> ValueType:
    """The type that holds the values of both."""
    if one == other or other.kind == "null":
        return one
    if one.kind == "null":
        return other
    match one.kind, other.kind:
        case ("list", "list"):
            return ValueType("list", item=merge(one.item or NULL, other.item or NULL))
        case ("object", "object"):
            names = [*one.fields, *(name for name in other.fields if name not in one.fields)]
            fields = {name: merge(one.fields.get(name, NULL), other.fields.get(name, NULL)) for name in names}
            return ValueType("object", fields=fields) if len(fields) <= _MAX_NAMES else JSON
        case ("int", "int"):
            return ValueType("int", is_exact=False)
        case ("int", "float") | ("float", "int") if one.is_exact and other.is_exact:
            return ValueType("float")
    return JSON


def settled(type_: ValueType) -> ValueType:
    """A type in which JSON is whole objects alone, or at the top, with names in order.

    `datasets` takes a text in a column of JSON for JSON that is written out, where it can be that: "42" comes back as a
    number. So an object with a field of several kinds is JSON itself.
    """
    match type_.kind:
        case "list":
            return ValueType("list", item=settled(type_.item or NULL))
        case "object":
            if not type_.fields or any(map(_is_loose, type_.fields.values())):
                return JSON
            return ValueType("object", fields={name: settled(type_.fields[name]) for name in sorted(type_.fields)})
    return type_


def holds_json(type_: ValueType) -> bool:
    """Whether any value of it is JSON: Arrow builds such columns at the top alone."""
    inner = [*type_.fields.values(), *([type_.item] if type_.item else [])]
    return type_.kind == "json" or any(map(holds_json, inner))


def _is_loose(type_: ValueType) -> bool:
    return type_.kind == "json" or (type_.kind == "list" and _is_loose(type_.item or NULL))


def arrow_type(type_: ValueType) -> "pyarrow.DataType":
    """The type in Arrow."""
    import pyarrow as pa

    match type_.kind:
        case "list":
            return pa.list_(arrow_type(type_.item or NULL))
        case "object":
            return pa.struct([(name, arrow_type(each)) for name, each in type_.fields.items()])
        case "json":
            return pa.json_()
    return {"bool": pa.bool_(), "int": pa.int64(), "float": pa.float64()}.get(type_.kind, pa.string())


def feature_of(type_: ValueType) -> dict[str, Any]:
    """The type as `datasets` keeps it in the metadata of Arrow and parquet files."""
    match type_.kind:
        case "list":
            return {"feature": feature_of(type_.item or NULL), "_type": "List"}
        case "object":
            return {name: feature_of(each) for name, each in type_.fields.items()}
        case "json":
            return {"_type": "Json"}
    return {"dtype": _DTYPES[type_.kind], "_type": "Value"}


def declared(type_: ValueType) -> dict[str, Any]:
    """The type as `datasets` has it in a README.md: what is next to the name of a column."""
    match type_.kind:
        case "list":
            inner = declared(type_.item or NULL)
            return {"list": inner["dtype"] if "dtype" in inner else inner.get("struct", inner)}
        case "object":
            return {"struct": [{"name": name, **declared(each)} for name, each in type_.fields.items()]}
        case "json":
            return {"dtype": "json"}
    return {"dtype": _DTYPES[type_.kind]}


def tree_of(type_: ValueType) -> object:
    """The type as JSON, to be kept in a file."""
    match type_.kind:
        case "list":
            return [tree_of(type_.item or NULL)]
        case "object":
            return {name: tree_of(type_.fields[name]) for name in sorted(type_.fields)}
        case "int" if not type_.is_exact:
            return "large int"
    return type_.kind


def type_from_tree(tree: Any) -> ValueType:
    """The inverse of `tree_of`."""
    if isinstance(tree, list):
        return ValueType("list", item=type_from_tree(tree[0]))
    if isinstance(tree, dict):
        return ValueType("object", fields={name: type_from_tree(each) for name, each in tree.items()})
    return ValueType("int", is_exact=False) if tree == "large int" else ValueType(tree)
