from hypothesis import given
from hypothesis import strategies as st

from wdstream.raw.listed.packed import TextHashes, TextPlaces, pack, packed_texts, unpack


def test_a_packed_list_reads_like_a_list() -> None:
    texts = [f"folder/{number}" for number in range(3000)]
    packed = packed_texts(texts)
    assert packed == texts and texts == [*packed] and len(packed) == 3000
    assert (packed[0], packed[1024], packed[2999], packed[-3000]) == (texts[0], texts[1024], texts[2999], texts[0])
    assert packed[1020:1030] == texts[1020:1030]
    assert packed != texts[1:] and packed_texts() == [] and not packed_texts()


@given(st.lists(st.text(st.characters(), max_size=5), max_size=20))
def test_any_name_is_packed(names: list[str]) -> None:
    assert unpack(pack((names, 2**70, None, ((1, "a"),)))) == (names, 2**70, None, ((1, "a"),))


def test_texts_that_are_there_twice() -> None:
    hashes = TextHashes()
    assert not hashes and "a" not in hashes
    for text in ("a", "b", "a", "\udce9", "c", "c", "c"):
        hashes.add(text)
    assert [text in hashes for text in ("a", "b", "\udce9", "d")] == [True, True, True, False]
    doubled = hashes.doubled()
    assert [text in doubled for text in ("a", "b", "c")] == [True, False, True]


def test_places_of_texts_come_in_their_order() -> None:
    places = TextPlaces()
    for number, text in enumerate("abcabca"):
        places.add(text, number)
    assert [[*places.of(text)] for text in "acx"] == [[0, 3, 6], [2, 5], []]
