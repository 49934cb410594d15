"""Small npz files: numpy's bytes, whatever is damaged is refused, and any other npz is read as numpy reads it."""

import io
import random

import numpy as np
import pytest

from wdstream.storage.npz import Arrays, read_npz, write_npz

SMALL: dict[str, Arrays] = {
    "none": {},
    "empty": {"a": np.zeros(0, "u1")},
    "types": {f"a.{kind[1:]}": np.arange(5).astype(kind) for kind in ("|u1", "|i1", "<u4", "<i4", "<u8", "<i8", "<f8")},
    "long": {"a": np.arange(70_000, dtype="<i8"), "b": np.ones(3, "<i4")},
}
OTHER: dict[str, Arrays] = {
    "matrix": {"a": np.zeros((2, 3), "<i8")},
    "number": {"a": np.array(3, "<i8")},
    "big-endian": {"a": np.arange(3).astype(">i8")},
    "text": {"a": np.array(["x", "yy"])},
    "strided": {"a": np.arange(9, dtype="<i8")[::2]},
}


def written(arrays: Arrays) -> bytes:
    file = io.BytesIO()
    write_npz(file, arrays)
    return file.getvalue()


def by_numpy(arrays: Arrays) -> bytes:
    file = io.BytesIO()
    np.savez(file, allow_pickle=False, **arrays)
    return file.getvalue()


@pytest.mark.parametrize("name", [*SMALL, *OTHER])
def test_bytes_and_arrays_are_those_of_numpy(name: str) -> None:
    arrays = {**SMALL, **OTHER}[name]
    data = written(arrays)
    assert data == by_numpy(arrays)
    found = read_npz(data)
    assert [*found] == [*arrays]
    for each, array in arrays.items():
        assert found[each].dtype == array.dtype
        assert found[each].flags.writeable
        np.testing.assert_array_equal(found[each], array)


def test_compressed_files_are_read() -> None:
    file = io.BytesIO()
    np.savez_compressed(file, a=np.arange(4))
    np.testing.assert_array_equal(read_npz(file.getvalue())["a"], np.arange(4))


def test_no_pickle_is_read() -> None:
    file = io.BytesIO()
    np.savez(file, a=np.array([{}], dtype=object))
    with pytest.raises(ValueError, match="allow_pickle"):
        read_npz(file.getvalue())


def test_no_changed_byte_gives_other_arrays_than_numpy() -> None:
    arrays = {"a": np.arange(20, dtype="<i8"), "b": np.arange(7, dtype="u1")}
    sound = written(arrays)
    draw = random.Random(0)
    for place in range(len(sound)):
        data = bytearray(sound)
        data[place] ^= 1 << draw.randrange(8)
        assert outcome(bytes(data)) == outcome_of_numpy(bytes(data)), place
        assert outcome(sound[:place]) == outcome_of_numpy(sound[:place]), place


def outcome(data: bytes) -> object:
    try:
        return {name: (array.dtype.str, array.tobytes()) for name, array in read_npz(data).items()}
    except Exception as error:
        return type(error)


def outcome_of_numpy(data: bytes) -> object:
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as stored:
            return {name: (stored[name].dtype.str, stored[name].tobytes()) for name in stored.files}
    except Exception as error:
        return type(error)
