"""Tar headers: ours byte for byte, those of others understood or refused, hostile ones refused."""

import io
import tarfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wdstream.errors import ShardError
from wdstream.shards.tar_header import Member, make_header, padded, split_path, walk


def walk_bytes(data: bytes) -> list[Member]:
    return list(walk(lambda offset, length: data[offset : offset + length], 0, len(data)))


def tar_of(files: dict[str, bytes], **options: object) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", **options) as tar:  # type: ignore[call-overload]
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def test_header_is_the_one_python_writes_as_ustar() -> None:
    info = tarfile.TarInfo("docs/p1.jpg")
    info.size = 1234
    ours = make_header("docs/p1.jpg", 1234)
    theirs = info.tobuf(tarfile.USTAR_FORMAT)
    assert len(ours) == 512
    parsed = tarfile.TarInfo.frombuf(ours, "utf-8", "strict")
    assert (parsed.name, parsed.size, parsed.mode, parsed.mtime, parsed.uid) == ("docs/p1.jpg", 1234, 0o644, 0, 0)
    assert ours[:148] == theirs[:148]
    assert ours[156:329] == theirs[156:329]


def test_long_path_is_split_at_a_slash() -> None:
    path = "a" * 60 + "/" + "b" * 60 + ".jpg"
    assert split_path(path) == ("a" * 60, "b" * 60 + ".jpg")
    header = make_header(path, 0)
    assert tarfile.TarInfo.frombuf(header, "utf-8", "strict").name == path
    assert walk_bytes(header + bytes(512))[0].name == path


@pytest.mark.parametrize("path", ["x" * 101, "a" * 156 + "/b", "a/" + "b" * 101, "/" + "b" * 100, "größe.jpg"])
def test_path_that_does_not_fit_is_refused(path: str) -> None:
    with pytest.raises(ShardError, match=r"USTAR"):
        split_path(path)


def test_part_beyond_eight_gibibytes_is_refused() -> None:
    with pytest.raises(ShardError, match="8589934592 bytes"):
        make_header("a.bin", 8**11)


@given(length=st.integers(1, 300), seed=st.integers(0, 1000))
@settings(deadline=None, max_examples=60)
def test_long_names_of_gnu_and_pax_are_resolved(length: int, seed: int) -> None:
    name = (f"d{seed}/" * 60 + "é" * length)[-length:].lstrip("/") + ".jpg"
    for form in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        data = tar_of({name: b"12345", "b.txt": b"x"}, format=form)
        members = walk_bytes(data)
        with tarfile.open(fileobj=io.BytesIO(data)) as tar:
            expected = [(item.name, item.offset, item.offset_data, item.size) for item in tar]
        assert [(item.name, item.offset, item.data_offset, item.size) for item in members] == expected


def test_float_times_make_pax_headers_which_are_read() -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        info = tarfile.TarInfo("a.txt")
        info.size, info.mtime = 3, 1.5
        tar.addfile(info, io.BytesIO(b"abc"))
    (member,) = walk_bytes(buffer.getvalue())
    assert (member.name, member.offset, member.data_offset, member.size) == ("a.txt", 0, 1536, 3)


def test_folders_and_links_are_no_files() -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, kind in [("d", tarfile.DIRTYPE), ("l", tarfile.SYMTYPE), ("h", tarfile.LNKTYPE)]:
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "t.txt"
            tar.addfile(info)
    members = walk_bytes(buffer.getvalue())
    assert [(member.name, member.is_file, member.size, member.trouble) for member in members] == [
        ("d/", False, 0, ""),
        ("l", False, 0, "a symbolic link to 't.txt'"),
        ("h", False, 0, "a hard link to 't.txt'"),
    ]


def test_size_in_base_256() -> None:
    header = bytearray(make_header("a.bin", 0))
    header[124:136] = b"\x80" + (300).to_bytes(11, "big")
    header[148:156] = b"        "
    header[148:156] = b"%06o\0 " % sum(header)
    assert walk_bytes(bytes(header) + bytes(512 + 512))[0].size == 300


def with_checksum(header: bytes) -> bytes:
    changed = bytearray(header)
    changed[148:156] = b"        "
    changed[148:156] = b"%06o\0 " % sum(changed)
    return bytes(changed)


def changed_header(place: int, value: bytes) -> bytes:
    header = bytearray(make_header("a.bin", 0))
    header[place : place + len(value)] = value
    return with_checksum(bytes(header))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (make_header("a.bin", 0)[:300], "300 of 512 bytes"),
        (make_header("a.bin", 513) + bytes(512), "truncated or damaged"),
        (b"\x01" + make_header("a.bin", 0)[1:], "checksum"),
        (changed_header(124, b"0000000001_1"), "not a number"),
        (changed_header(124, b"-0000000001\0"), "not a number"),
        (changed_header(124, b"\x80" + b"\xff" * 11), "truncated or damaged"),
        (changed_header(124, b"\xff" * 12), "not a number"),
        (changed_header(156, b"x") + bytes(512), "long name at byte 0 has no file after it"),
        (with_checksum(changed_header(124, b"00017777777\0")[:156] + b"L" + bytes(355)), "claims 4194303 bytes"),
    ],
)
def test_broken_headers_are_refused(data: bytes, message: str) -> None:
    with pytest.raises(ShardError, match=message):
        walk_bytes(data)


@pytest.mark.parametrize(
    ("records", "message"),
    [
        (b"12 path=ab", "malformed"),
        (b"9 pathabc\n", "malformed"),
        (b"0 path=ab\n", "malformed"),
        (b"99 path=ab\n", "malformed"),
        (b"xx path=ab\n", "malformed"),
        (b"11 size=-4\n", "not a number"),
    ],
)
def test_broken_pax_records_are_refused(records: bytes, message: str) -> None:
    extended = bytearray(make_header("pax", len(records)))
    extended[156:157] = b"x"
    data = with_checksum(bytes(extended)) + records.ljust(512, b"\0") + make_header("a.txt", 0)
    with pytest.raises(ShardError, match=message):
        walk_bytes(data)


def test_global_header_that_renames_is_refused_and_a_comment_is_not() -> None:
    def with_global(records: dict[str, str]) -> bytes:
        return tar_of({"a.txt": b"x"}, format=tarfile.PAX_FORMAT, pax_headers=records)

    assert [member.name for member in walk_bytes(with_global({"comment": "by hand"}))] == ["a.txt"]
    with pytest.raises(ShardError, match="global PAX header"):
        walk_bytes(with_global({"path": "b.txt"}))


@given(st.binary(max_size=4096))
@settings(deadline=None)
def test_any_bytes_give_members_or_a_shard_error(data: bytes) -> None:
    try:
        members = walk_bytes(data)
    except ShardError:
        return
    assert not members or members[-1].end <= len(data)


@given(data=st.data())
@settings(deadline=None, max_examples=200)
def test_damaged_tars_of_others_give_members_inside_or_a_shard_error(data: st.DataObject) -> None:
    tar = bytearray(tar_of({"d/" * 80 + "a.txt": b"abc", "b.jpg": bytes(700)}, format=tarfile.PAX_FORMAT))
    for _ in range(data.draw(st.integers(1, 6))):
        place = data.draw(st.integers(0, len(tar) - 1))
        tar[place] = data.draw(st.integers(0, 255))
    start = data.draw(st.sampled_from([0, 512, 1024]))
    block = bytes(tar[start : start + 512])
    tar[start : start + 512] = with_checksum(block)  # so that the damage gets past the checksum
    try:
        members = walk_bytes(bytes(tar))
    except ShardError:
        return
    assert all(0 <= member.offset < member.data_offset <= member.end <= len(tar) for member in members)


@given(st.integers(0, 10**7))
def test_padding(num_bytes: int) -> None:
    assert padded(num_bytes) % 512 == 0
    assert 0 <= padded(num_bytes) - num_bytes < 512
