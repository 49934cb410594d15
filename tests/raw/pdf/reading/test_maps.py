"""Characters without a map, or with a wrong one, on the cases, shipped pages and small PDFs with fonts of their own."""

from pathlib import Path

import pikepdf
import pytest

from tests.helpers.paths import DATA
from tests.helpers.pdf_files import unicode_map, write_pdf
from tests.raw.pdf.test_source import read, text_of
from wdstream.raw.pdf.document import open_pdf
from wdstream.raw.pdf.logical import page_text
from wdstream.raw.pdf.reading.fonts import read_fonts
from wdstream.raw.pdf.reading.maps import mapped_share, mapped_share_of_text, misread_words, mixed_words
from wdstream.raw.pdf.reading.mended import bracket_pieces, mended_codes

PDF, CASES = DATA / "pages" / "pdf", DATA / "cases" / "pdf"
ENGLISH = (
    "The quick brown fox jumps over the lazy dog, and then it sleeps in the warm sun for the rest of the afternoon."
)


def label_of(path: Path) -> tuple[str, float]:
    with open_pdf(path) as pdf, pdf.page(1) as page, page.text_layer(page.pixel_size(1)) as layer:
        characters = layer.characters
        fonts = read_fonts(characters)
        characters = mended_codes(characters, fonts)
        keep = ~bracket_pieces(characters, fonts)
        text = page_text(characters, keep)
        return text, mapped_share(characters, keep, fonts, text)


def page_with_fonts(tmp_path: Path, lines: dict[str, str], names: dict[str, str]) -> Path:
    """A page of lines in Type 3 and Type 1 fonts whose glyphs have names that mean nothing, as bitmap fonts of TeX."""
    widths = f"/FirstChar 0/LastChar 255/Widths[{'7 ' * 256}]"
    encoding = f"/Encoding<</Type/Encoding/Differences[0 {' '.join(f'/glyph{code}' for code in range(256))}]>>"
    type3 = "/Subtype/Type3/FontBBox[0 0 7 10]/FontMatrix[0.1 0 0 0.1 0 0]/CharProcs<<>>"
    objects: dict[int, str | bytes] = {}
    resources = []
    for number, font in enumerate(lines, 10):
        kind = f"/Subtype/Type1/BaseFont/{names[font]}" if font in names else type3
        objects[number] = f"<</Type/Font{kind}{widths}{encoding}>>"
        resources.append(f"/{font} {number} 0 R")
    shown = "".join(
        f"BT /{font} 10 Tf 20 {180 - 20 * at} Td <{text.encode('latin-1').hex()}> Tj ET\n"
        for at, (font, text) in enumerate(lines.items())
    )
    found = f"/Font<<{''.join(resources)}>>"
    return write_pdf(tmp_path / "x.pdf", shown, page="/MediaBox[0 0 2000 200]", resources=found, objects=objects)


def test_a_font_without_a_map_whose_letters_are_shifted_is_not_text() -> None:
    assert label_of(CASES / "type3_nomap.pdf") == ("Khoor zruog", 0.0)


def test_letters_that_land_on_accents_are_not_text() -> None:
    text, share = label_of(CASES / "slides-packaging-tutorial.ru.pdf")
    assert text.startswith("Äîïîëíèòåëüíàÿ")
    assert share < 0.5


@pytest.mark.parametrize(
    "path",
    sorted(PDF.glob("*.pdf")),
    ids=lambda path: path.stem,
)
def test_shipped_pages_mean_what_they_say(path: Path) -> None:
    assert label_of(path)[1] > 0.999  # the bullets of one are symbols without a map


def test_a_font_without_a_map_that_keeps_to_ascii_is_believed(tmp_path: Path) -> None:
    path = page_with_fonts(tmp_path, {"T": ENGLISH, "N": "1984 20.5 1,000", "B": "Introduction"}, {})
    text, share = label_of(path)
    assert ENGLISH in text
    assert share == 1.0


def test_every_letter_a_few_codes_further_is_not(tmp_path: Path) -> None:
    shifted = "".join(chr(ord(letter) + 3) if letter.isalpha() else letter for letter in ENGLISH)
    assert label_of(page_with_fonts(tmp_path, {"T": shifted}, {}))[1] == 0.0
    assert label_of(page_with_fonts(tmp_path, {"T": "/,1(83 7+( 25'(5"}, {}))[1] == 0.0


def test_brackets_of_tex_are_known_by_the_name_of_their_font(tmp_path: Path) -> None:
    path = page_with_fonts(tmp_path, {"T": ENGLISH, "S": "hi"}, {"S": "ABCDEF+CMSY10"})
    text, share = label_of(path)
    assert text.endswith("⟨⟩")
    assert share == 1.0


def test_pieces_of_large_brackets_are_no_text_and_large_signs_are_known(tmp_path: Path) -> None:
    path = page_with_fonts(tmp_path, {"T": ENGLISH, "X": "\x140X1\x15\x0c\x0c"}, {"X": "ABCDEF+CMEX10"})
    text, share = label_of(path)
    assert text.endswith("[∑]")
    assert share == 1.0


def test_words_by_their_pairs_of_letters(tmp_path: Path) -> None:
    names = "StrictBindOnce()StrictBindOnceBindOnce"
    assert label_of(page_with_fonts(tmp_path, {"A": names, "B": "obj,index,expr"}, {}))[1] == 1.0
    bill = {"A": "BookedandinterestdateTextAmountinEUR", "B": "01/14/2016Transfer1,406,164.00"}
    assert label_of(page_with_fonts(tmp_path, bill, {}))[1] == 1.0
    assert label_of(page_with_fonts(tmp_path, {"A": "ChecklisteService"}, {"A": "Arial"}))[1] == 1.0
    shifted = "".join(chr(ord(letter) + 1) for letter in names if letter.isalpha())
    assert label_of(page_with_fonts(tmp_path, {"A": shifted}, {}))[1] == 0.0


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("असेपॉЙल लॉЭसयची सϋगते का", ["असेपॉЙल", "लॉЭसयची", "सϋगते"]),
        ("مͳ وجود یΈ دیΎر", ["مͳ", "یΈ", "دیΎر"]),
        ("лiсосiк управлiннi рiвнi оb пb лb", []),
        ("ωμέγα μm 5Ω αβγ漢字 ひらがなカタカナ漢字", []),
        ("one मͳ two three", []),  # a slip
    ],
)
def test_words_that_mix_alphabets(text: str, wanted: list[str]) -> None:
    assert mixed_words(text) == wanted


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("Ïðèâåò ìèð çäåñü", ["Ïðèâåò", "ìèð", "çäåñü"]),  # Cyrillic
        ("ÊáëçìÝñá óå üëïõò êáé ôïí êüóìï", ["ÊáëçìÝñá", "üëïõò", "êáé", "ôïí", "êüóìï"]),  # Greek
        ("ÊáëçìÝñá means good day, üëïõò to all", []),  # a slip
        ("ùìåí òåìí ìëåìí", ["ùìåí", "òåìí", "ìëåìí"]),  # Hebrew
        ("été créé à l'île où naît Noël, général élevé", []),
        ("ÀÁÂÃÄÅ ÈÉÊË ÌÍÎÏ àáâãäå ÒÓÔÕÖ", []),  # a table of letters
        ("jäääär õõõõõt öööde ülim ning muu", []),
    ],
)
def test_letters_of_other_scripts_under_codes_of_one_byte(text: str, wanted: list[str]) -> None:
    assert misread_words(text) == wanted


def with_font_name(tmp_path: Path, name: str) -> Path:
    """A shipped page whose font, which is in the file, has another name."""
    with pikepdf.open(PDF / "diagram-ssh-L.pdf") as document:
        for item in document.objects:
            if isinstance(item, pikepdf.Dictionary) and "/BaseFont" in item:
                item.BaseFont = pikepdf.Name(name)
        document.save(tmp_path / "x.pdf")
    return tmp_path / "x.pdf"


@pytest.mark.parametrize(
    ("name", "text", "share"),
    [
        ("/ABCDEF+KrutiDev010", "Lokal\nSSH-", 0.163),  # Devanagari under the codes of Latin letters
        ("/ABCDEF+Wingdings-Regular", "☹□♋●\n☟-", 1.0),
        ("/VNI-Times", "Lokal\nSSH-", 1.0),  # Vietnamese: only letters with accents have codes of others
        ("/ABCDEF+LiberationSans", "Lokal\nSSH-", 1.0),
        ("/ABCDEF+VisualGeezUnicode", "Lokal\nSSH-", 1.0),  # its makers have older ones, too
    ],
)
def test_what_the_name_of_a_font_proves(tmp_path: Path, name: str, text: str, share: float) -> None:
    page = read(with_font_name(tmp_path, name), min_mapped=0)
    assert text in text_of(page)
    assert page.page.meta["text_mapped"] == pytest.approx(share, abs=0.001)


def test_private_codes_of_symbol_are_the_signs_that_it_prints(tmp_path: Path) -> None:
    font = "<</Type/Font/Subtype/Type1/BaseFont/Symbol/ToUnicode 11 0 R>>"
    keys = {0x61: "f061", 0xB7: "f0b7", 0xA3: "f0a3"}
    path = write_pdf(
        tmp_path / "x.pdf",
        "BT /S 14 Tf 40 150 Td <b7> Tj 20 0 Td <61> Tj 20 0 Td <a3> Tj ET",
        resources="/Font<</S 10 0 R>>",
        objects={10: font, 11: unicode_map(keys)},
    )
    assert label_of(path) == ("• α ≤", 1.0)
    assert mapped_share_of_text("\uf0b7 a private code") < 1


@pytest.mark.parametrize(
    ("text", "share"),
    [
        (
            "Figure 7 \u2704\u2706\u260e\u271e\u271d \u2732\u272c\u2714\u2715 \u2715\u2714\u271b\u2734",
            7 / 20,
        ),  # letters under names of signs
        ("Stars: \u2605\u2605\u2605\u2605\u2606 and \u2714 \u2718 in a table", 1.0),
        ("All of them: \u2701\u2702\u2703\u2704 \u2705\u2706\u2707\u2708 \u2709\u270a", 1.0),
    ],
)
def test_words_of_different_signs_mean_nothing(text: str, share: float) -> None:
    assert mapped_share_of_text(text) == pytest.approx(share)


def test_notes_of_a_font_for_music_are_not_text(tmp_path: Path) -> None:
    lines = {"W": "A slur is drawn over notes", "M": "NhhN"}
    path = page_with_fonts(tmp_path, lines, {"M": "Emmentaler-20"})
    text, _ = label_of(path)
    assert text.split("\r\n")[0] == "A slur is drawn over notes"
    assert "N" not in text
