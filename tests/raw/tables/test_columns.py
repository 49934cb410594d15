import pyarrow as pa
import pytest

from wdstream.errors import SourceError
from wdstream.raw.tables.columns import check_columns, check_num_rows


def nested(depth: int) -> pa.DataType:
    made = pa.int8()
    for _ in range(depth):
        made = pa.list_(made)
    return made


def test_sound_columns() -> None:
    kinds = [pa.map_(pa.string(), pa.int8()), pa.dictionary(pa.int8(), pa.string()), pa.list_(pa.int8(), 2), nested(30)]
    kinds += [pa.struct([("a", pa.int8()), ("b", pa.struct([("a", pa.int8())]))]), pa.uuid(), pa.null()]
    kinds += [pa.sparse_union([pa.field("x", pa.int8()), pa.field("y", pa.string())]), pa.list_view(pa.int8())]
    kinds += [pa.run_end_encoded(pa.int32(), pa.string())]
    check_columns(pa.schema([(str(number), kind) for number, kind in enumerate(kinds)]))


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ([("text", pa.string()), ("text", pa.int8())], "column 'text' is there twice"),
        ([("x", pa.struct([("a", pa.int8()), ("a", pa.int8())]))], "column 'a' of 'x' is there twice"),
        ([("x", pa.list_(pa.struct([("a", pa.int8()), ("a", pa.int8())])))], r"column 'a' of 'x\.\w+' is there twice"),
        ([("x", nested(40))], r"column 'x\..*' is nested more than 32 deep"),
        ([(str(n), pa.int8()) for n in range(10_001)], "table has 10,001 fields; at most 10,000 are read"),
    ],
)
def test_columns_that_are_refused(fields: list[tuple[str, pa.DataType]], reason: str) -> None:
    with pytest.raises(SourceError, match=reason):
        check_columns(pa.schema(fields))


def test_more_rows_than_a_file_can_have() -> None:
    check_num_rows(1_000_100, 100)
    with pytest.raises(SourceError, match="file of 100 bytes says that it has 1,000,101 rows; it is damaged"):
        check_num_rows(1_000_101, 100)
