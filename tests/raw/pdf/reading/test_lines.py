"""Initials over several lines of a paragraph."""

from pathlib import Path

import pytest

from tests.helpers.pdf_files import line, write_pdf
from tests.raw.pdf.test_source import read, text_of


def paragraph(initial: str, *lines: str, y: float = 150, size: float = 48, x: float = 78) -> str:
    """Lines with an initial over the first two of them."""
    texts = "".join(line(text, x if at < 2 else 40, y - 18 * at) for at, text in enumerate(lines))
    return line(initial, 40, y - 22, size) + texts


def shown(path: Path, content: str) -> str:
    """The label of a page with this content."""
    return text_of(read(write_pdf(path / "x.pdf", content)))


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (paragraph("O", "nce upon a", "time a dog", "ran off"), "Once upon a\ntime a dog\nran off"),
        (paragraph("O", "NCE UPON a time", "there was", "one"), "ONCE UPON a time\nthere was\none"),
        (paragraph("\342", "ge d'or des", "contes", "bleus"), "\342\nge d'or des\ncontes\nbleus"),
        (paragraph("\311", "t\351 comme", "hiver", "ici"), "Été comme\nhiver\nici"),
        (paragraph("A", "dog ran off, no", "other dog did", "so"), "A dog ran off, no\nother dog did\nso"),
        (paragraph("A", "fter that no dog", "was seen", "there"), "After that no dog\nwas seen\nthere"),
        (paragraph("A", " cat ran off,", "no dog did", "so"), "A cat ran off,\nno dog did\nso"),
        (paragraph("\311", " un cane che", "corre", "via", x=74), "É un cane che\ncorre\nvia"),
        (
            line("A", 40, 128, 48) + line("cat ran", 82, 150) + line("off", 78, 132) + line("again", 40, 114),
            "A cat ran\noff\nagain",
        ),
        (paragraph("I", "t was seen", "again", "there", x=56), "It was seen\nagain\nthere"),
        (
            line("Of dogs", 40, 180, 18) + paragraph("O", "nce upon a", "time", "there", y=140),
            "Of dogs\nOnce upon a\ntime\nthere",
        ),
        (
            line("O", 40, 148, 48) + line("T", 40, 68, 48) + line("nce upon", 78, 170) + line("a time", 78, 152)
            + line("it was", 40, 134) + line("hat is", 74, 90) + line("all", 74, 72) + line("now", 40, 54),
            "Once upon\na time\nit was\nThat is\nall\nnow",
        ),
        (
            line("nce upon", 78, 150) + line("a time", 78, 132) + line("it was", 40, 114) + line("O", 40, 128, 48),
            "Once upon\na time\nit was",
        ),
    ],
)  # fmt: skip
def test_initials_are_in_the_words_that_they_begin(tmp_path: Path, content: str, text: str) -> None:
    assert shown(tmp_path, content) == text


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (paragraph("1", "mix the flour", "and bake"), "1\nmix the flour\nand bake"),
        (paragraph("A", "Mix the flour", "and bake"), "A\nMix the flour\nand bake"),
        (paragraph("B", "2 eggs", "and milk"), "B\n2 eggs\nand milk"),
        (paragraph("B", "first answer", "second answer"), "B\nfirst answer\nsecond answer"),
        (
            paragraph("B", "first answer", "second one") + line("C", 40, 50, 48) + line("third", 78, 72),
            "B\nfirst answer\nsecond one\nC\nthird",
        ),
        (paragraph("?", "ran off", "with it"), "?\nran off\nwith it"),
        (line("O", 40, 128, 48) + line("nce alone", 78, 150), "O\nnce alone"),
        (line("O", 40, 128, 48) + line("far away", 178, 150) + line("from it", 178, 132), "O\nfar away\nfrom it"),
        (line("O", 40, 128, 48) + line("as high", 78, 130, 40) + line("as that", 40, 60), "Oas high\nas that"),
        (line("x =", 40, 130) + line("S", 70, 118, 50) + line("n", 106, 150) + line("k", 106, 112), "x =\nS\nnk"),
    ],
)
def test_large_signs_next_to_lines_that_begin_no_word(tmp_path: Path, content: str, text: str) -> None:
    assert shown(tmp_path, content).split("\n") == text.split("\n")


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (f"q 40 90 27.2 30 re W n {line('long', 42, 100)} Q {line('next', 67.4, 100)}", "long next"),
        (f"q 40 90 26.6 30 re W n {line('long', 42, 100)} Q {line('next', 67.4, 100)}", "long next"),
        (f"q 40 90 21 30 re W n {line('long', 42, 100)} Q {line('next', 61.4, 100)}", "lon next"),
        (f"q 40 90 60 30 re W n {line('long', 42, 100)} Q {line('next', 68.6, 100)}", "longnext"),
        (f"q 40 90 53 30 re W n {line('long', 42, 100)} {line('next', 68.6, 100)} Q", "longnext"),
        (f"q 40 90 100 10.5 re W n {line('long', 42, 100)} Q {line('next', 68.6, 100)}", "next"),
        (f"q 40 90 27.2 30 re W n {line('long', 42, 100)} Q {line('next', 40, 70)}", "long\nnext"),
    ],
)
def test_a_cell_that_its_text_fills_ends_a_word(tmp_path: Path, content: str, text: str) -> None:
    """As browsers print cells of tables with `overflow: hidden`: the next one may begin there."""
    assert shown(tmp_path, content) == text
