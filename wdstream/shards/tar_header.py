"""Tar headers: our own are plain USTAR; GNU and PAX long names of others are understood, whatever else is there is
named.

A tar file is a sequence of 512-byte blocks: one header block per member, then its bytes padded to a block, and at the
end at least one block of zeros. Fields are those of POSIX.1-1988 (USTAR), PAX records those of POSIX.1-2001.

Nothing here trusts its input: checksums are verified, numbers are parsed strictly, sizes are bounded by the file.
"""

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from wdstream.errors import ShardError
from wdstream.text.not_text import FETCH_LFS, LFS_POINTER

BLOCK_SIZE = 512
RECORD_SIZE = 10_240  # an archive is padded to this, as tar and Python's tarfile do
ZERO_BLOCK = bytes(BLOCK_SIZE)
MAX_NAME = 100
MAX_PREFIX = 155
MAX_USTAR_BYTES = 8**11 - 1  # eleven octal digits
MAX_EXTENDED_HEADER = 1 << 20  # a long name or a set of PAX records; real ones are below a kilobyte

ReadAt = Callable[[int, int], bytes]  # (offset, length) -> bytes, shorter only at the end

_PLAIN_FILE, _REGULAR = b"0", b"0\x007"
_FOLDER, _SPARSE = b"5", b"S"
_LINKS = {b"1": "a hard link", b"2": "a symbolic link"}
_DEVICES = {b"3": "a character device", b"4": "a block device", b"6": "a pipe"}
# Of a header that we write: name, mode and owner, size, time, sum, kind and magic, prefix; the rest is zeros.
_HEADER = struct.Struct("100s24s12s12s8s189s155s12x")
_OWNER, _TIME = b"0000644\x000000000\x000000000\0", b"00000000000\0"
_MARK = b"0".ljust(101, b"\0") + b"ustar\x0000"
_SUM_OF_REST = sum(_OWNER) + sum(_TIME) + sum(_MARK) + 8 * 0x20
_IS_EXTENDED, _IS_EXTENDED_AGAIN = 482, 504  # bytes of GNU's old sparse headers: whether another block of them follows
_OCTAL_DIGITS = frozenset(b"01234567")


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One file in a tar.

    Attributes:
        name: its path in the tar.
        offset: its first header block, that of its long name included.
        data_offset: its first byte.
        size: its bytes, without padding.
        end: the offset after its padding: where the next header is.
        is_file: False for folders, links and devices.
        trouble: why its bytes are not here: it is a link, a device, a sparse file, or of an unknown kind. Empty for
            files, folders, and labels of volumes.
    """

    name: str
    offset: int
    data_offset: int
    size: int
    end: int
    is_file: bool
    trouble: str = ""


def padded(num_bytes: int) -> int:
    """`num_bytes` rounded up to whole blocks."""
    return -(-num_bytes // BLOCK_SIZE) * BLOCK_SIZE


def split_path(path: str) -> tuple[str, str]:
    """Split a path into USTAR's (prefix, name).

    Raises:
        ShardError: when it is not ASCII, or too long for both fields.
    """
    if not path.isascii():
        raise ShardError(f"{path!r} is not ASCII, which USTAR names must be: rename it")
    if len(path) <= MAX_NAME:
        return "", path
    cut = path.find("/", len(path) - MAX_NAME - 1)
    if cut < 1 or cut > MAX_PREFIX or cut == len(path) - 1:
        raise ShardError(
            f"{path!r} does not fit USTAR: at most {MAX_NAME} characters, or {MAX_PREFIX} before and {MAX_NAME} after "
            f"a '/'; found {len(path)}: use a shorter key"
        )
    return path[:cut], path[cut + 1 :]


def make_header(path: str, size: int) -> bytes:
    """The header block of a regular file: mode 644, owner 0, time 0, so that the same content gives the same bytes.

    Raises:
        ShardError: when the path or the size does not fit.
    """
    if size > MAX_USTAR_BYTES:
        raise ShardError(f"{path!r} has {size} bytes; a member of a shard holds at most {MAX_USTAR_BYTES}")
    folder, base = ("", path) if len(path) <= MAX_NAME and path.isascii() else split_path(path)
    prefix, name = folder.encode("ascii"), base.encode("ascii")
    digits = b"%011o" % size
    checksum = _SUM_OF_REST + sum(prefix + name + digits)
    return _HEADER.pack(name, _OWNER, digits, _TIME, b"%06o\0 " % checksum, _MARK, prefix)


def walk(read: ReadAt, start: int, end: int) -> Iterator[Member]:
    """Every member whose headers are in [start, end), in order; stops at a block of zeros, where there is one.

    Args:
        read: reads bytes of the tar; called for headers only, never for the contents of members.
        start: a header's offset.
        end: the end of the tar, or of the sample; beyond all bytes where it is not known.

    Yields:
        The members, long names resolved.

    Raises:
        ShardError: for a broken header, a member that reaches beyond `end`, or bytes that end before `end` does.
    """
    offset = start
    first: int | None = None  # where the long name before the coming header starts
    overrides: dict[str, str] = {}
    while offset < end:
        block = read(offset, BLOCK_SIZE)
        if block == ZERO_BLOCK:
            break
        if not block:
            raise ShardError(f"no end-of-archive block at byte {offset}: truncated; copy or write it again")
        name, size, kind = _parse_header(block, offset)
        if kind in b"xgLK":
            body = _read_extension(read, name, offset, size, end)
            if kind == b"x":
                overrides.update(_pax_records(body, offset))
            elif kind in b"LK":
                overrides["path" if kind == b"L" else "linkpath"] = _decode(body.rstrip(b"\0"))
            elif kind == b"g":
                _refuse_global(_pax_records(body, offset), offset)
            first = offset if first is None else first
            offset += BLOCK_SIZE + padded(size)
            continue
        if kind in _LINKS:
            overrides.setdefault("linkpath", _decode(block[157:257].split(b"\0", 1)[0]))
        data_offset = offset + BLOCK_SIZE * (1 + _sparse_blocks(read, block, offset) if kind == _SPARSE else 1)
        member = _member(name, size, kind, (offset if first is None else first, data_offset), overrides)
        if member.end > end:
            raise ShardError(
                f"{member.name!r} at byte {member.offset} should reach to byte {member.end}, but only {end} are there: "
                "truncated or damaged"
            )
        yield member
        offset, first, overrides = member.end, None, {}
    if first is not None:
        raise ShardError(f"a long name at byte {first} has no file after it: truncated or damaged")


def refuse_rest(rest: bytes, name: str = "") -> None:
    """Check what follows the end of an archive; `name`: of the tar, for the message.

    Raises:
        ShardError: it is not padding: tars that were joined by `cat` look so, and readers see the first alone.
    """
    if rest.strip(b"\0"):
        what = "there is more after the end of the archive, which readers of tars do not see: another tar, joined by"
        raise ShardError(f"{name}: {what} `cat`? Split it, or join tars with `tar --concatenate`".removeprefix(": "))


def _member(name: str, size: int, kind: bytes, offsets: tuple[int, int], overrides: dict[str, str]) -> Member:
    """A member whose own header, and those before it, were read; `offsets`: of its first header, and of its data."""
    if kind == _PLAIN_FILE and not overrides:  # as nearly all are
        end = offsets[1] + padded(size)
        return Member(name=name, offset=offsets[0], data_offset=offsets[1], size=size, end=end, is_file=True)
    name = overrides.get("GNU.sparse.name", overrides.get("path", name))
    if "size" in overrides:
        if not (overrides["size"].isascii() and overrides["size"].isdigit() and len(overrides["size"]) < 20):
            raise ShardError(f"{name!r} at byte {offsets[0]} has the size {overrides['size']!r}, not a number")
        size = int(overrides["size"])
    trouble = _trouble(kind, overrides)
    is_folder = kind == _FOLDER or (kind == b"\0" and name.endswith("/"))  # how tars older than USTAR write one
    has_data = not (is_folder or kind in _LINKS or kind in _DEVICES)
    end = offsets[1] + (padded(size) if has_data else 0)
    is_file = kind in _REGULAR and not is_folder and not trouble
    size = size if has_data else 0
    return Member(
        name=name, offset=offsets[0], data_offset=offsets[1], size=size, end=end, is_file=is_file, trouble=trouble
    )


def _trouble(kind: bytes, overrides: dict[str, str]) -> str:
    """Why a member's bytes are not in the tar as they are; empty for files and folders."""
    if kind in _LINKS:
        return f"{_LINKS[kind]} to {overrides['linkpath']!r}"
    if kind in _DEVICES:
        return _DEVICES[kind]
    if kind == _SPARSE or any(record.startswith("GNU.sparse") for record in overrides):
        return "a sparse file"
    return "" if kind in _REGULAR or kind in (_FOLDER, b"V") else f"a tar member of the kind {kind!r}"


def _sparse_blocks(read: ReadAt, block: bytes, offset: int) -> int:
    """Blocks of the map of an old GNU sparse file, which are between its header and its data."""
    count, is_extended = 0, block[_IS_EXTENDED]
    while is_extended:
        count += 1
        block = read(offset + count * BLOCK_SIZE, BLOCK_SIZE)
        if len(block) != BLOCK_SIZE:
            raise ShardError(f"the sparse file at byte {offset} is truncated")
        is_extended = block[_IS_EXTENDED_AGAIN]
    return count


def _parse_header(block: bytes, offset: int) -> tuple[str, int, bytes]:
    """Name, size and kind of one header block."""
    if block.startswith(LFS_POINTER) and not offset:
        raise ShardError(f"tar {FETCH_LFS}")
    if len(block) != BLOCK_SIZE:
        raise ShardError(f"the header at byte {offset} has {len(block)} of {BLOCK_SIZE} bytes: truncated")
    checksum = _number(block[148:156], "checksum", offset)
    actual = sum(block.translate(None, b"\0")) - sum(block[148:156]) + 8 * 0x20  # most bytes are zeros
    if checksum != actual:
        raise ShardError(f"no tar header at byte {offset}: checksum {checksum} expected, found {actual}")
    size = _number(block[124:136], "size", offset)
    path = block[:MAX_NAME].split(b"\0", 1)[0]
    if block[257:263] == b"ustar\0" and block[345]:
        path = block[345:500].split(b"\0", 1)[0] + b"/" + path
    return path.decode("utf-8", "surrogateescape"), size, block[156:157]


def _number(field: bytes, what: str, offset: int) -> int:
    """An octal number, or the base-256 form of GNU tar for large ones."""
    if field[0] == 0x80:
        return int.from_bytes(field[1:], "big")
    digits = field.strip(b" \0")
    if not _OCTAL_DIGITS.issuperset(digits):
        raise ShardError(f"no tar header at byte {offset}: {what} {field!r} is not a number")
    return int(digits or b"0", 8)


def _read_extension(read: ReadAt, name: str, offset: int, size: int, end: int) -> bytes:
    """The bytes of a long-name or PAX header."""
    if size > MAX_EXTENDED_HEADER:
        raise ShardError(f"the extended header {name!r} at byte {offset} claims {size} bytes: damaged")
    body = read(offset + BLOCK_SIZE, size)
    if len(body) != size or offset + BLOCK_SIZE + padded(size) > end:
        raise ShardError(f"the extended header {name!r} at byte {offset} is truncated")
    return body


def _pax_records(body: bytes, offset: int) -> dict[str, str]:
    """Records of the form `<length> <name>=<value>\\n`, the length counting itself."""
    records: dict[str, str] = {}
    start = 0
    while start < len(body) and body[start]:
        space = body.find(b" ", start, start + 20)
        digits = body[start:space] if space > start else b""
        length = int(digits) if digits.isdigit() else 0
        record = body[space + 1 : start + length]
        name, equals, value = record.partition(b"=")
        if length <= len(digits) + 1 or start + length > len(body) or not equals or not value.endswith(b"\n"):
            raise ShardError(f"the PAX header at byte {offset} is malformed")
        records[_decode(name)] = _decode(value[:-1])
        start += length
    return records


def _refuse_global(records: dict[str, str], offset: int) -> None:
    """A global header may hold comments and times; one that renames or resizes all files is not supported."""
    if "path" in records or "size" in records:
        raise ShardError(f"the global PAX header at byte {offset} sets path or size for all files: not supported")


def _decode(name: bytes) -> str:
    """Names of others may be any bytes; undecodable ones survive as surrogates, as in Python's own file names."""
    return name.decode("utf-8", "surrogateescape")
