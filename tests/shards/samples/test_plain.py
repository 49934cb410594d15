"""The short way through a sample says what the walk says, or leaves it to the walk."""

import io
import random
import tarfile

import pytest

from wdstream.errors import PageError, ShardError
from wdstream.shards.layout import split_sample
from wdstream.shards.meta import hash_key
from wdstream.shards.samples.plain import split_checked, split_plain
from wdstream.shards.tar_header import make_header, padded


def sample(names: dict[str, bytes]) -> bytes:
    return b"".join(
        make_header(name, len(data)) + data + bytes(padded(len(data)) - len(data)) for name, data in names.items()
    )


def tar_of(names: dict[str, bytes], form: int, kind: bytes = tarfile.REGTYPE) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form) as tar:
        for name, data in names.items():
            member = tarfile.TarInfo(name)
            member.size, member.type, member.mode = len(data), kind, 0o600
            tar.addfile(member, io.BytesIO(data))
        end = tar.offset
    return buffer.getvalue()[:end]


PLAIN = {"a/b.jpg": b"1" * 700, "a/b.json": b"{}", "a/b.txt": b""}


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_common_samples_take_the_short_way(form: int) -> None:
    members = {"jpg": b"1" * 700, "json": b"{}", "txt": b""}
    assert split_plain(tar_of(PLAIN, form)) == ("a/b", members)
    assert split_plain(sample(PLAIN)) == ("a/b", members)
    assert split_plain(sample({"k.0.JPG": b"1", "k.1.png": b"2"})) == ("k", {"0.jpg": b"1", "1.png": b"2"})
    assert split_plain(sample({"a.txt": b"1"}).replace(b"a.txt\0\0", b"a.txt\0x", 1)) == ("a", {"txt": b"1"})


@pytest.mark.parametrize(
    "data",
    [
        b"",
        sample(PLAIN)[:-1],
        sample(PLAIN) + bytes(512),
        sample({**PLAIN, "a/c.txt": b"x"}),
        sample({"a/b.txt": b"1", "a/b.TXT": b"2"}),
        sample({"a/b": b"1", "a/b.txt": b"2"}),
        sample({"../b.txt": b"1"}),
        sample({"/b.txt": b"1"}),
        sample({"__key__.txt": b"1"}),
        sample({"a/__MACOSX/b.txt": b"1"}),
        sample({".b.txt": b"1"}),
        sample({f"{'d' * 60}/{'e' * 60}.txt": b"1"}),
        tar_of({"ä.txt": b"1"}, tarfile.GNU_FORMAT),
        tar_of({f"{'n' * 120}.txt": b"1"}, tarfile.GNU_FORMAT),
        tar_of({f"{'n' * 120}.txt": b"1"}, tarfile.PAX_FORMAT),
        tar_of({"a.txt": b""}, tarfile.USTAR_FORMAT, kind=tarfile.DIRTYPE),
        tar_of({"a.txt": b""}, tarfile.USTAR_FORMAT, kind=tarfile.SYMTYPE),
        sample({"a.txt": b"1"}).replace(b"00000000001\0", b"00000000009\0", 1),
        sample({"a.txt": b"1"}).replace(b"00000000001\0", b"\x80" + bytes(10) + b"\1", 1),
    ],
)
def test_all_else_is_left_to_the_walk(data: bytes) -> None:
    assert split_plain(data) is None


def test_both_ways_agree_on_headers_of_any_bytes() -> None:
    draw = random.Random(0)
    names = ("a.jpg", "a.txt", "a.b.json", "b.txt", "a", "d/a.txt", "__a.txt", "a/__x__/a.txt", "a.__", "a.\n")
    agreed = 0
    for _ in range(3000):
        chosen = draw.sample(names, draw.randrange(1, 4))
        data = bytearray(sample({name: bytes(draw.randrange(600)) for name in chosen}))
        for _ in range(draw.randrange(2)):
            data[draw.randrange(0, len(data), 512) + draw.choice((0, 1, 5, 99, 124, 134, 135, 156, 257, 345))] ^= 0x21
        short = split_plain(bytes(data))
        if short is None:
            continue
        try:
            walked = split_sample(bytes(data))
        except (ShardError, PageError) as error:
            assert "checksum" in str(error)  # which the checksum of the sample stands for
            continue
        agreed += 1
        assert short == walked
    assert agreed > 500


def test_a_key_is_compared_with_the_index() -> None:
    members = {"txt": b"1"}
    assert split_checked(sample({"a.txt": b"1"}), "t.tar", hash_key("a")) == ("a", members)
    assert split_checked(sample({"a.txt": b"1"}), "t.tar", hash_key("t.tar/a")) == ("t.tar/a", members)
    assert split_checked(sample({"a.v2.txt": b"1"}), "t.tar", hash_key("a.v2")) == ("a.v2", members)
    with pytest.raises(ShardError, match="has the key 'a', the index another"):
        split_checked(sample({"a.txt": b"1"}), "t.tar", hash_key("b"))
