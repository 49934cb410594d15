"""Characters without a map, or with a wrong one, on the cases, shipped pages and small PDFs with fonts of their own."""

from base64 import b64encode
from codecs import encode
from pathlib import Path

import pikepdf
import pytest

from tests.helpers.paths import DATA
from tests.helpers.pdf_files import stream, unicode_map, write_pdf
from tests.raw.pdf.test_source import read, text_of
from wdstream.errors import SourceError
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


def test_signs_of_tex_are_known_by_the_name_of_their_font(tmp_path: Path) -> None:
    lines = {"T": ENGLISH, "S": "627!x0", "R": "2!7", "I": ",`\x0f", "A": "6>\x03", "B": "(-?"}
    names = {"S": "ABCDEF+CMSY10", "R": "ABCDEF+CMSY8", "I": "ABCDEF+CMMI7", "A": "ABCDEF+MSAM10", "B": "ABCDEF+MSBM10"}
    text, share = label_of(page_with_fonts(tmp_path, lines, names))
    assert text.split("\r\n")[1:] == ["∉↦§′", "∈↦", "↪ℓϵ", "⩽⩾□", "⊊∤∅"]
    assert share == 1.0


def test_a_slash_through_a_sign_of_tex_follows_it(tmp_path: Path) -> None:
    """As TeX writes them: the slash before the sign that it goes through, with a map to Unicode."""
    signs = "<</Type/Font/Subtype/Type1/BaseFont/AAAAAA+LMMathSymbols10-Regular/ToUnicode 11 0 R>>"
    text = "<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>"
    path = write_pdf(
        tmp_path / "x.pdf",
        "BT /T 14 Tf 40 150 Td (a ) Tj /S 14 Tf (6) Tj /T 14 Tf (= b, ) Tj /S 14 Tf (62) Tj ET",
        resources="/Font<</S 10 0 R/T 12 0 R>>",
        objects={10: signs, 11: unicode_map({0x36: "0338", 0x32: "2208"}), 12: text},
    )
    assert text_of(read(path)) == "a ≠ b, ∉"


def test_a_circle_of_tex_is_around_letters_of_texts_and_before_variables(tmp_path: Path) -> None:
    signs = "<</Type/Font/Subtype/Type1/BaseFont/AAAAAA+CMSY10/ToUnicode 11 0 R>>"
    roman, italic = (signs.replace("CMSY10", name).replace("11 0", "14 0") for name in ("CMR7", "CMMI10"))
    path = write_pdf(
        tmp_path / "x.pdf",
        "BT /S 14 Tf 40 150 Td (62o) Tj /R 14 Tf (c 9 ) Tj /S 14 Tf (o) Tj /I 14 Tf (c) Tj ET",
        resources="/Font<</S 10 0 R/R 12 0 R/I 13 0 R>>",
        objects={
            10: signs,
            11: unicode_map({0x6F: "25EF", 0x36: "0338", 0x32: "2208"}),
            12: roman,
            13: italic,
            14: unicode_map({0x63: "0063", 0x20: "0020", 0x39: "0039"}),
        },
    )
    assert text_of(read(path)) == "∉© 9 ◯c"


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
    groff = {0xD6: "221a", 0x60: "f8e5", 0x62: "0062"}  # a root, and the line over what is under it
    path = write_pdf(
        tmp_path / "y.pdf",
        "BT /S 14 Tf 40 150 Td <d6> Tj 8 0 Td <60> Tj -4 0 Td <62> Tj ET",
        resources="/Font<</S 10 0 R>>",
        objects={10: font, 11: unicode_map(groff)},
    )
    assert text_of(read(path)) == "√b"
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


PROSE = (
    "All human beings are born free and equal in dignity and rights. They are endowed with reason and conscience and "
    "should act towards one another in a spirit of brotherhood. Everyone is entitled to all the rights and freedoms "
    "set forth in this Declaration, without distinction of any kind, such as race, colour, sex, language, religion, "
    "political or other opinion, national or social origin, property, birth or other status. "
)
POLISH = (
    "Wszyscy ludzie rodza sie wolni i rowni pod wzgledem swej godnosci i swych praw. Sa oni obdarzeni rozumem i "
    "sumieniem i powinni postepowac wobec innych w duchu braterstwa. "
) * 4
WELSH = (
    "Genir pawb yn rhydd ac yn gydradd a i gilydd mewn urddas a hawliau. Fe u cynysgaeddir a rheswm a chydwybod. " * 4
)
CODE = "mov eax, [ebp+8] push ebx xor ecx, ecx cmp byte ptr [esi], 0 jz short loc sub esp, 32 lea edi, [ebp-10] " * 6
CHESS = "Nf3 Nf6 c4 g6 Nc3 Bg7 d4 O-O Bf4 d5 Qb3 dxc4 Qxc4 c6 e4 Nbd7 Rd1 Nb6 Qc5 Bg4 Bg5 Na4 Qa3 Nxc3 bxc3 Nxe4 " * 6
PROTEIN = (
    "MKTAYIAKQR QISFVKSHFS RQLEERLGLI EVQAPILSRV GDGTQDNLSG AEKAVQVKVK ALPDAQFEVV HSLAKWKRQT LGQHDFSAGE GLYTHMKALR "
    "PDEDRLSPLH SVYVDQWDWE RVMGDGERQF STLKSTVEAI WAGIKATEAA VSEEFGLAPF LPDQIHFVHS QELLSRYPDL DAKGRERAIA KDLGAVFLVG "
    "IGGKLSDGHR HDVRAPDYDD WSTPSELGHA GLNGDILVWN PVLEDAFELS SMGIRVDADT LKHQLALTGD EDRLELEWHQ ALLRGEMPQT IGGGIGQSRL "
)
SHARES = (
    "MSFT AAPL GOOG AMZN NVDA TSLA META BRKB JPM JNJ UNH XOM WMT HD CVX MRK ABBV PEP KO AVGO COST MCD TMO CSCO ACN ABT "
    "DHR LIN NKE TXN NEE VZ CMCSA WFC UPS RTX BMY QCOM HON ORCL AMD COP LOW INTC SBUX AMGN UNP SPGI CAT INTU IBM GS "
    "LMT MDT ISRG GILD AXP ADI SYK BKNG MDLZ TJX REGN PGR VRTX CB MMC CVS SCHW ZTS FISV LRCX BDX BSX SLB PLD HUM KLAC "
)
HMONG = (
    "Txhua tus neeg yug los muaj kev ywj pheej thiab sib npaug zos hauv kev hwm thiab cov cai. Lawv xaj nrog lub laj "
    "thawj thiab lub siab thiab yuav tsum coj ib leeg rau ib leeg hauv ib lub siab kwv tij. "
) * 2
KEY = b64encode(bytes((at * at * 7 + at * 31) % 251 for at in range(900))).decode()


@pytest.mark.parametrize("text", [PROSE, POLISH, WELSH, HMONG, CODE, CHESS, PROTEIN, SHARES, KEY, PROSE[:120]])
def test_text_in_any_language_code_and_keys_mean_what_they_say(text: str) -> None:
    assert mapped_share_of_text(text) == 1.0


@pytest.mark.parametrize("text", [PROSE, POLISH, PROSE.upper(), f"{PROSE} «{PROSE}»"])
def test_letters_that_are_exchanged_for_each_other_mean_nothing(text: str) -> None:
    assert mapped_share_of_text(encode(text, "rot13")) < 0.3


def test_a_page_whose_fonts_map_letters_to_others_is_not_text(tmp_path: Path) -> None:
    codes = {code: f"{ord(encode(chr(code), 'rot13')):04x}" for code in (*range(0x41, 0x5B), *range(0x61, 0x7B))}
    font = "/Font<</G<</Type/Font/Subtype/Type1/BaseFont/Helvetica/ToUnicode 10 0 R>>>>"
    lines = (f"BT /G 5 Tf 10 {190 - 8 * at} Td ({part}) Tj ET\n" for at, part in enumerate(PROSE.split(". ")))
    path = write_pdf(
        tmp_path / "x.pdf", "".join(lines), page="/MediaBox[0 0 900 200]", objects={10: unicode_map(codes)}
    )
    path.write_bytes(path.read_bytes().replace(b"/Resources<</Font<<", b"/Resources<</Font<<" + font[7:-2].encode()))
    with pytest.raises(SourceError, match=r"its fonts map only [0-9]\.[0-9]% of it to Unicode"):
        read(path)


def test_letters_of_one_glyph_whose_bytes_are_exchanged(tmp_path: Path) -> None:
    """As Ghostscript 10.00 maps ligatures of Latin letters, and clusters of others."""
    codes = {0x41: "66006900", 0x42: "6600cf00", 0x43: "66006c00", 0x44: "0939393f", 0x45: "0938384d4d24"}
    font = "<</Type/Font/Subtype/Type1/BaseFont/Helvetica/ToUnicode 11 0 R>>"
    path = write_pdf(
        tmp_path / "x.pdf",
        "BT /S 14 Tf 40 150 Td (Arst oBce Cow D D E) Tj ET",
        resources="/Font<</S 10 0 R>>",
        objects={10: font, 11: unicode_map(codes | {ord(letter): f"{ord(letter):04x}" for letter in "rst ocew"})},
    )
    assert text_of(read(path)) == "first office flow हि हि स्त"
    with pytest.raises(SourceError, match="its fonts map only"):
        read(write_pdf(tmp_path / "y.pdf", f"BT /F 10 Tf 20 150 Td ({TRUNCATED}) Tj ET", page="/MediaBox[0 0 900 200]"))


TRUNCATED = "Debian A5 70=8<0NBAO =0 4>1@>2>;L=>9 >A=>25. K =5 <>65B5 C:07K20BL 4@C38< GB> 45;0BL 8 ?>BGM<C"
"""Russian, of whose letters only the last bytes are left: as Ghostscript 10.00 maps it."""


def test_last_bytes_of_letters_are_not_text_and_code_is() -> None:
    assert mapped_share_of_text(TRUNCATED) < 0.5
    code = "if a<=b: X=Y; 00:1A:2B A=>B ::= <<EOF>> @A==B? 10>=5 C<D>E FOO=BAR\n" * 20
    assert mapped_share_of_text(code) == 1.0


def letters_drawn_as(glyphs: str) -> str:
    """Letters of the start of the Lotus Sutra, each drawn as one of these, as browsers name glyphs."""
    letters = zip("如是我聞一時佛住王舍城耆闍崛山中", glyphs, strict=True)
    named = (f"/Span<</ActualText<FEFF{ord(letter):04x}>>>BDC ({glyph}) Tj EMC" for letter, glyph in letters)
    return "BT /F 14 Tf 20 150 Td " + " 15 0 Td ".join(named) + " 0 -40 Td (and a line of Latin letters) Tj ET"


def test_boxes_in_place_of_letters_that_no_font_has_are_not_these_letters(tmp_path: Path) -> None:
    latin = "and a line of Latin letters"
    sound = write_pdf(tmp_path / "x.pdf", letters_drawn_as("ABCDEFGHKLMNOPRS"), page="/MediaBox[0 0 400 200]")
    assert text_of(read(sound)) == f"如是我聞一時佛住王舍城耆闍崛山中\n{latin}"
    boxes = write_pdf(tmp_path / "y.pdf", letters_drawn_as("O" * 16), page="/MediaBox[0 0 400 200]")
    with pytest.raises(SourceError, match=r"text layer is not text: its fonts map only 57.9% of it to Unicode"):
        read(boxes)


GREEK = "ΑΒΓΔΕΖΗΘΙΚΛΜΝΞΟΠΡΣΤΥΦΧΨΩ"
"""Letters of a page's own fonts, before those that these do not have."""
HINDI = ("हि", "न्", "दी", "में", "लि", "खा", "हु", "आ", "पा", "ठ", "य", "ही")


def clusters_drawn_as(glyphs: str) -> str:
    """Greek letters, and below them clusters of Hindi: for each of their letters the glyph of the cluster."""
    greek = (
        f"/Span<</ActualText<FEFF{ord(letter):04x}>>>BDC ({chr(65 + at)}) Tj EMC" for at, letter in enumerate(GREEK)
    )
    named = (
        f"/Span<</ActualText<FEFF{cluster.encode('utf-16-be').hex()}>>>BDC ({glyph * len(cluster)}) Tj EMC"
        for cluster, glyph in zip(HINDI, glyphs, strict=True)
    )
    return f"BT /C 12 Tf 20 170 Td {' 14 0 Td '.join(greek)} ET BT /C 9 Tf 20 130 Td {' 28 0 Td '.join(named)} ET"


def test_boxes_for_clusters_of_letters_after_letters_that_are_drawn(tmp_path: Path) -> None:
    """Browsers name a cluster once for all of its boxes, and PDFium gives each of its letters a part of them."""
    sound = write_pdf(tmp_path / "x.pdf", clusters_drawn_as("BCDEFGHKLMNP"), page="/MediaBox[0 0 400 200]")
    assert "".join(text_of(read(sound)).split()) == GREEK + "".join(HINDI)
    boxes = write_pdf(tmp_path / "y.pdf", clusters_drawn_as("O" * 12), page="/MediaBox[0 0 400 200]")
    with pytest.raises(SourceError, match=r"text layer is not text: its fonts map only 52.2% of it to Unicode"):
        read(boxes)


def test_pale_letters_whose_boxes_are_of_one_shape_are_not_boxes_of_a_font_without_them(tmp_path: Path) -> None:
    """As of a heavy font, in which each syllable fills its square."""
    letters = "如是我聞一時佛住王舍城耆闍崛山中"
    squares = [
        [
            f"{2 * (at % 4)} {2 * (at // 4)} 2 2 re"
            for at in range(16)
            if at in (0, 15) or number * (2 * at + 1) % 16 > 8
        ]
        for number in range(16)
    ]
    glyphs = {20 + at: stream(f"9 0 0 0 8 8 d1 {' '.join(found)} f") for at, found in enumerate(squares)}
    kind = "/Subtype/Type3/FontBBox[0 0 8 8]/FontMatrix[0.125 0 0 0.125 0 0]/FirstChar 65/LastChar 80"
    names = "".join(f"/{chr(65 + at)}" for at in range(16))
    procs = "".join(f"/{chr(65 + at)} {20 + at} 0 R" for at in range(16))
    font = (
        f"<</Type/Font{kind}/Widths[{'9 ' * 16}]/Encoding<</Type/Encoding/Differences[65{names}]>>"
        f"/CharProcs<<{procs}>>/ToUnicode 11 0 R>>"
    )
    path = write_pdf(
        tmp_path / "x.pdf",
        "0.8 g BT /S 14 Tf 20 150 Td (ABCDEFGHIJKLMNOP) Tj ET",
        resources="/Font<</S 10 0 R>>",
        objects={10: font, 11: unicode_map({65 + at: f"{ord(it):04x}" for at, it in enumerate(letters)}), **glyphs},
    )
    assert text_of(read(path)) == letters
