import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wdstream.text.characters import (
    beyond_ascii,
    kinds_of,
    normalise_text,
    one_line,
    printable,
    replace_surrogates,
    short_name,
    unreadable_share,
)


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        ("SSH\ufffeforbindelse\r\n80", "SSH-\nforbindelse\n80"),
        ("exam\x02\r\nple", "exam-\nple"),
        ("exam\x02\nple", "exam-\nple"),
        ("one\r\ntwo\rthree\nfour", "one\ntwo\nthree\nfour"),
        ("a\u2028b\u2029c\x0cd\x0be", "a\nb\nc\nd\ne"),
        ("\ufeffa\x00b\x07c\x7fd\x85e", "abcde"),
        ("tab\tstays  \nspace at the end goes \t\u00a0\n", "tab\tstays\nspace at the end goes"),
        ("\n\n  indented stays\n\nblank stays\n\n", "  indented stays\n\nblank stays"),
        ("lone \ud800 and \udfff", "lone \ufffd and \ufffd"),
        ("שלום \u200f سلام\u200c‌ها", "שלום \u200f سلام\u200c‌ها"),
        ("ﬁnal oﬀer, eﬃcient ﬆ", "final offer, efficient st"),
        ("\u2f47, \u2ed1, \u2ee2", "\u2f47, \u2ed1, \u2ee2"),  # whoever writes radicals means them
        ("\ufe8e\ufefb\ufeb3 \ufb2a", "\u0627\u0644\u0627\u0633 \u05e9\u05c1"),
        ("\ufd3e\u0661\ufd3f \ufdfa \ufdfc", "\ufd3e\u0661\ufd3f \ufdfa \ufdfc"),  # brackets and signs stay
        ("hy\u00adphen\u00ad\nated\u00ad \r\nword\u00ad", "hyphen-\nated-\nword-"),
        ("no\ufdd0 cha\U0001ffffracters", "no characters"),
        ("both\x02\ufffe\r\nmarks\x02\rand\ufffe\nends", "both-\n-\nmarks-\nand-\nends"),
        ("one\r\r\ntwo", "one\n\ntwo"),
        ("", ""),
    ],
)
def test_normalise_text(raw: str, clean: str) -> None:
    assert normalise_text(raw) == clean


@given(st.text(alphabet=st.characters(), max_size=200) | st.text(alphabet="a \t\r\n\x02\ufffe\x0c\ud800\x00-"))
@settings(deadline=None)
def test_normalise_text_is_stable_and_storable(text: str) -> None:
    clean = normalise_text(text)
    assert normalise_text(clean) == clean
    assert clean.encode("utf-8").decode("utf-8") == clean
    assert not set(clean) & set("\r\x00\x02\x0b\x0c\ufffe")


def test_kinds_are_all_characters_once() -> None:
    text = "a\x00 b\na é漢\U0001f600 é\ud83d x\ude00\x7f\x80"
    assert sorted(kinds_of(text)) == sorted("a\x00 b\né漢\U0001f600\ud83dx\ude00\x7f\x80")
    assert sorted(beyond_ascii(text)) == sorted("é漢\U0001f600\ud83d\ude00\x80")
    assert beyond_ascii("plain\r\n") == ""


def test_replace_surrogates_leaves_everything_else() -> None:
    assert replace_surrogates("a\r\n\x00\x02\U0001f600\udc00") == "a\r\n\x00\x02\U0001f600\ufffd"


@pytest.mark.parametrize(
    ("text", "share"),
    [
        ("", 0.0),
        ("plain text", 0.0),
        ("line\r\nline\x02\r\nend\ufffe", 0.0),
        ("\ue000\ue001ab", 0.5),
        ("\x01\x03\x04\x05", 1.0),
        ("a\u0378bc", 0.25),
        ("abc\ufffd", 0.25),
        ("العربية 中文 हिन्दी", 0.0),
    ],
)
def test_unreadable_share(text: str, share: float) -> None:
    assert unreadable_share(text) == share


def test_controls_are_written_out() -> None:
    assert printable("a\x1b[31mred\x00\x7f\x9b \u202eltr\u2066\ufeff") == (
        "a␛[31mred␀<U+007F><U+009B> <U+202E>ltr<U+2066><U+FEFF>"
    )


def test_what_right_to_left_text_needs_stays() -> None:
    assert printable("می\u200cخواهم \u200f(1)\n\tنه") == "می\u200cخواهم \u200f(1)\n\tنه"


def test_one_line() -> None:
    assert one_line("\n<row0_col1>\tx") == "⏎<row0_col1>⇥x"


def test_a_name_is_one_short_line() -> None:
    assert short_name("a\x1b[2Jb\nc\udce9.pdf") == "a␛[2Jb⏎c<U+DCE9>.pdf"
    assert short_name("x" * 30 + "y" * 30, most=23) == "x" * 10 + "..." + "y" * 10


@given(st.text(alphabet=st.sampled_from("a \t\r\n\x00\x02\x0b\x0c\x1b\x7f"), max_size=12))
def test_ascii_text_is_cleaned_like_any_other(text: str) -> None:
    assert normalise_text(text + "\n\u00e9") == f"{normalise_text(text + chr(10) + 'e')[:-1]}\u00e9"
