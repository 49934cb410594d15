"""Pages written by hand: each hides a text in its own way, or seems to."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.pdf_files import form, image, line, pattern, stream, write_pdf
from tests.raw.pdf.test_source import read, text_of
from wdstream.raw.pdf import objects
from wdstream.raw.pdf.calls import clip_outlines

SEEN = line("Seen by all", 40, 150)
HIDDEN = "Hidden words"
NOISE = [bytes((x * 37 + y * 91 + x * y * 13) % 256 for x in range(300)) for y in range(200)]
SCAN = [bytes(0 if 40 < y < 52 and x % 5 < 2 else 255 for x in range(300)) for y in range(200)]
OCG = "/OCProperties<</OCGs[20 0 R]/D<</OFF[20 0 R]>>>>"
GROUP = {20: "<</Type/OCG/Name(hidden)>>"}
LAYER = line("Read by a machine", 40, 150) + line("and then again", 40, 85)
LABEL = "Read by a machine\nand then again"
GROUP_OF_FORM = "/Group<</S/Transparency/CS/DeviceGray>>"
MASKED = "/XObject<</X 10 0 R>>/ExtGState<</M<</SMask<</S/Luminosity/G 11 0 R>>>>/N<</ca 0>>>>"
WITHOUT_GLYPHS = (
    "<</Type/Font/Subtype/Type3/FontBBox[0 0 7 10]/FontMatrix[0.1 0 0 0.1 0 0]/FirstChar 65/LastChar 66/Widths[7 7]"
    "/Encoding<</Type/Encoding/Differences[65/A/B]>>/CharProcs<</A 11 0 R/B 11 0 R>>>>"
)
GREY = "/ExtGState<</T<</ca 0.4>>/N<</ca 0>>>>"


def page_of(path: Path, content: str, **more: Any) -> Mapping[str, object]:
    """Text and metadata of a page with this content."""
    page = read(write_pdf(path / "x.pdf", content, **more))
    return {"text": text_of(page), **page.page.meta}


@pytest.mark.parametrize(
    ("content", "reason", "more"),
    [
        (f"3 Tr {line(HIDDEN, 40, 100)}", "invisible", {}),
        (f"7 Tr {line(HIDDEN, 40, 100)}", "invisible", {}),
        (f"1 g {line(HIDDEN, 40, 100)}", "no contrast", {}),
        (f"0.93 g {line(HIDDEN, 40, 100)}", "no contrast", {}),
        (f"0.2 0.3 0.6 rg 0 80 300 60 re f 0.22 0.32 0.6 rg {line(HIDDEN, 40, 100)}", "no contrast", {}),
        (f"0 g 30 80 200 60 re f {line(HIDDEN, 40, 100)}", "no contrast", {}),
        (f"1 g {line(HIDDEN, 40, 100)} 30 101 m 250 101 l S", "no contrast", {}),  # an anchor on a line to sign on
        (f"30 104 m 250 104 l S 1 g {line(HIDDEN, 40, 100)}", "no contrast", {}),
        (f"1 Tr 1 G {line(HIDDEN, 40, 100)} 0 G 30 104 m 250 104 l S", "no contrast", {}),
        (
            f"0.2 0.3 0.6 rg 0 80 300 60 re f 1 G 30 104 m 250 104 l S 0.22 0.32 0.6 rg {line(HIDDEN, 40, 100)}",
            "no contrast",
            {},
        ),
        (
            f"0 g 30 70 200 31 re f 1 g {line(HIDDEN, 40, 100)}",
            "no contrast",
            {},
        ),  # above the dark ground of another line
        (f"0 g 30 109.5 200 30 re f 1 g {line(HIDDEN, 40, 100)}", "no contrast", {}),
        (line(HIDDEN, 40, 100, 1), "too small to read", {}),
        (line("Hidden gypsy", 40, 100, 1.4), "too small to read", {}),
        (line(HIDDEN, 40, 100, 0.01), "too small to read", {}),
        (f"0 g 40.5 95 84.8 20 re f {line(HIDDEN, 40, 100)}", "not drawn", {}),  # an edge of the first letter is seen
        (f"{line(HIDDEN, 40, 100)} 0 g 30 95 200 25 re f", "covered", {}),
        (f"{line(HIDDEN, 40, 100)} 1 1 1 rg 30 95 200 25 re f", "covered", {}),
        (f"{line(HIDDEN, 40, 100)} 25 w 30 104 m 230 104 l S", "covered", {}),
        (f"{line(HIDDEN, 40, 100)} 7 w 30 104 m 230 104 l S", "covered", {}),  # the tips of H, d and d are seen
        (line(HIDDEN, 400, 100), "outside the page", {}),
        (line(HIDDEN, 40, -40), "outside the page", {}),
        (f"q 0 0 300 50 re W n {line(HIDDEN, 40, 100)} Q", "no contrast", {}),
        (f"q 0 0 300 50 re W n {line(HIDDEN, 40, 100)} Q 30 104 m 250 104 l S", "not drawn", {}),
        (f"q 0 0 300 50 re W n 0 90 300 50 re W n {line(HIDDEN, 40, 100)} Q 30 104 m 250 104 l S", "not drawn", {}),
        (f"q 200 50 m 300 50 l 250 150 l h W n {line(HIDDEN, 40, 100)} Q 30 104 m 250 104 l S", "not drawn", {}),
        (f"/N gs {line(HIDDEN, 40, 100)}", "invisible", {"resources": GREY}),
        (f"30 104 m 200 104 l S /N gs {line(HIDDEN, 40, 100)}", "invisible", {"resources": GREY}),
        *(
            (
                f"q {state} gs /X Do Q 30 104 m 250 104 l S",
                "not drawn",
                {
                    "resources": MASKED,
                    "objects": {
                        10: form(line(HIDDEN, 40, 100), GROUP_OF_FORM),
                        11: form("0 g 0 0 300 200 re f", GROUP_OF_FORM),
                    },
                },
            )
            for state in ("/M", "/N")
        ),
        (
            f"/Pattern cs /P scn {line(HIDDEN, 40, 100)} 30 104 m 250 104 l S",
            "no contrast",
            {"resources": "/Pattern<</P 10 0 R>>", "objects": {10: pattern("1 g 0 0 300 200 re f")}},
        ),
        (
            "BT /T 9 Tf 40 100 Td (ABBAABBAABB) Tj ET",
            "no contrast",
            {"resources": "/Font<</T 10 0 R>>", "objects": {10: WITHOUT_GLYPHS, 11: stream("7 0 d0")}},
        ),
        (
            f"/OC /L BDC {line(HIDDEN, 40, 150)} EMC",  # over the text that is seen
            "not drawn",
            {"resources": "/Properties<</L 20 0 R>>", "catalog": OCG, "objects": GROUP},
        ),
        (
            f"/OC /L BDC {line(HIDDEN, 40, 100)} EMC",
            "no contrast",
            {
                "resources": "/Properties<</L 21 0 R>>",
                "catalog": OCG,
                "objects": {**GROUP, 21: "<</Type/OCMD/OCGs[20 0 R]/P/AllOn>>"},
            },
        ),
        (
            "/X Do",
            "not drawn",
            {
                "resources": "/XObject<</X 10 0 R>>",
                "catalog": OCG,
                "objects": {**GROUP, 10: form(line(HIDDEN, 42, 150), "/OC 20 0 R")},
            },
        ),
        (
            f"{line(HIDDEN, 40, 100)} q 150 0 0 40 30 90 cm /P Do Q",
            "covered",
            {"resources": "/XObject<</P 10 0 R>>", "objects": {10: image(NOISE, 300)}},
        ),
    ],
)
def test_text_that_is_not_seen(tmp_path: Path, content: str, reason: str, more: dict[str, Any]) -> None:
    found = page_of(tmp_path, f"{SEEN} q {content} Q {line('and this', 40, 30)}", **more)
    assert found["text"] == "Seen by all\nand this"
    dropped = found["text_dropped"]
    assert isinstance(dropped, dict)
    assert reason in dropped
    assert sum(dropped.values()) == 11
    assert found["text_visible"] == 0.5926


@pytest.mark.parametrize(
    ("content", "more"),
    [
        (f"0 g 30 80 200 60 re f 1 g {line(HIDDEN, 40, 100)}", {}),  # white on black
        (f"0 g 38 96 90 16 re f 1 g {line(HIDDEN, 40, 100)}", {}),
        (f"1 Tr {line(HIDDEN, 40, 100, 24)}", {}),  # only outlined
        (f"2 Tr 1 g {line(HIDDEN, 40, 100, 24)}", {}),  # white, with an outline
        (f"{line(HIDDEN, 40.8, 99.2)} 1 g {line(HIDDEN, 40, 100)}", {}),  # white, with a shadow
        (f"0.8 g {line(HIDDEN, 40, 100)}", {}),
        (f"{line(HIDDEN, 40, 100)} q /T gs 1 1 0 rg 30 95 200 25 re f Q", {"resources": GREY}),  # a marker
        (f"{line(HIDDEN, 40, 100)} 30 95 200 25 re S", {}),  # a frame
        (f"0 0 1 rg 30 95 200 25 re f 1 0 0 rg {line(HIDDEN, 40, 100)}", {}),
        (f"q 30 95 200 25 re W n {line(HIDDEN, 40, 100)} Q", {}),
        (
            "q /M gs /X Do Q 30 104 m 250 104 l S",
            {
                "resources": MASKED,
                "objects": {
                    10: form(line(HIDDEN, 40, 100), GROUP_OF_FORM),
                    11: form("1 g 0 0 300 200 re f", GROUP_OF_FORM),
                },
            },
        ),
        (
            f"/Pattern cs /P scn {line(HIDDEN, 40, 100)} 30 104 m 250 104 l S",
            {"resources": "/Pattern<</P 10 0 R>>", "objects": {10: pattern("0 0 1 rg 0 0 300 200 re f")}},
        ),
        (
            f"/Pattern cs /P scn {line(HIDDEN, 40, 100, 30)}",
            {
                "resources": "/Pattern<</P 10 0 R>>",
                "objects": {10: pattern("0 0 1 rg 0 0 4 2 re f", "0 0 4 4", "/XStep 4/YStep 4")},
            },
        ),
        ("/X Do", {"resources": "/XObject<</X 10 0 R>>", "objects": {10: form(line(HIDDEN, 40, 100))}}),
        (
            f"q 300 0 0 200 0 0 cm /P Do Q 1 0 0 rg {line(HIDDEN, 40, 100)}",
            {"resources": "/XObject<</P 10 0 R>>", "objects": {10: image(SCAN, 300)}},
        ),
        (
            f"/OC /L BDC {line(HIDDEN, 40, 100)} EMC",
            {
                "resources": "/Properties<</L 20 0 R>>",
                "catalog": "/OCProperties<</OCGs[20 0 R]/D<</ON[20 0 R]>>>>",
                "objects": GROUP,
            },
        ),
        (line(HIDDEN, 40, 100, 3), {}),
        (f"BT /F 14 Tf 40 100 Td ({HIDDEN}) Tj 0.4 0 Td ({HIDDEN}) Tj ET", {}),  # a fake bold counts once
    ],
)
def test_text_that_is_seen(tmp_path: Path, content: str, more: dict[str, Any]) -> None:
    found = page_of(tmp_path, f"q {content} Q", **more)
    assert found["text"] == HIDDEN


@pytest.mark.parametrize(
    ("clear", "text", "dropped"),
    [(300, "Seen by all\nHidden words\nand this", None), (130, "Seen by all\nHidden\nand this", {"covered": 5})],
)
def test_text_under_the_clear_part_of_an_image_is_seen(
    tmp_path: Path, clear: int, text: str, dropped: dict[str, int] | None
) -> None:
    mask = image([bytes(255 * (x >= clear) for x in range(300))] * 200, 300)
    over = image(NOISE, 300, "/ColorSpace/DeviceGray/BitsPerComponent 8/SMask 11 0 R")
    found = page_of(
        tmp_path,
        f"{SEEN} {line(HIDDEN, 60, 100)} q 250 0 0 40 0 90 cm /P Do Q {line('and this', 40, 30)}",
        resources="/XObject<</P 10 0 R>>",
        objects={10: over, 11: mask},
    )
    assert (found["text"], found.get("text_dropped")) == (text, dropped)


@pytest.mark.parametrize(
    ("drawn", "inner", "entries"),
    [
        ("/X Do", line(HIDDEN, 40, 100), ""),
        ("q 0.5 0 0 0.5 30 90 cm /X Do Q", line(HIDDEN, 20, 20, 28), ""),
        ("/X Do", line(HIDDEN, 0, 80), "/Matrix[1 0 0 1 40 20]"),
        ("q 0 1 -1 0 140 60 cm /X Do Q", f"BT 0 -1 1 0 40 100 Tm /F 14 Tf ({HIDDEN}) Tj ET", ""),
        ("q 0 0 300 50 re W n /X Do Q", line(HIDDEN, 40, 100), ""),
        (
            "q 90 120 200 60 re W n 0.5 0 0 0.5 30 90 cm /X Do Q",
            line(HIDDEN, 20, 20, 28),
            "",
        ),
    ],
    ids=["as it is", "smaller", "moved", "turned", "in a path around it", "smaller in a path"],
)
def test_text_of_a_part_of_a_figure_that_is_not_shown(tmp_path: Path, drawn: str, inner: str, entries: str) -> None:
    """It is where the page has text of its own."""
    figure = form(inner, entries, "0 0 300 200" if "W n" in drawn else "90 120 300 200")
    content = f"{SEEN} {drawn} {line('Words that are seen', 41, 100)}"
    found = page_of(tmp_path, content, resources="/XObject<</X 10 0 R>>", objects={10: figure})
    assert (found["text"], found["text_dropped"]) == ("Seen by all\nWords that are seen", {"not drawn": 11})


def test_clipping_paths_that_have_the_same_one_inside_of_them(tmp_path: Path) -> None:
    page, here, there = "0 0 300 200 re W n", "0 140 300 60 re W n", "0 0 300 50 re W n"
    texts = f"q {here} {page} {SEEN} Q q {there} {page} {line(HIDDEN, 150, 150)} Q 140 154 m 280 154 l S"
    found = page_of(tmp_path, texts)
    assert (found["text"], found["text_dropped"]) == ("Seen by all", {"not drawn": 11})


def test_clipping_paths_inside_of_hundreds_of_others_are_not_all_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each text has the paths of all before it: 1.2 million edges, a quarter of a minute."""
    texts = "".join(
        f"q {at % 20 * 14} {at // 20 * 5} 8 5 re W n {line('mmm', at % 20 * 14, at // 20 * 5, 4)}" for at in range(700)
    )
    path = write_pdf(tmp_path / "x.pdf", SEEN + texts)
    num_edges = 0

    def read_outlines(*arguments: Any) -> Any:
        nonlocal num_edges
        found = clip_outlines(*arguments)
        num_edges += sum(map(len, found))
        return found

    monkeypatch.setattr(objects, "clip_outlines", read_outlines)
    assert text_of(read(path)).startswith("Seen by all")
    assert num_edges < 60_000


def test_white_text_that_is_a_little_over_the_edge_of_its_ground(tmp_path: Path) -> None:
    """Its corners above or below are on the paper, which is white, too; but not its sides."""
    content = line("Gypsy", 40, 100), line("Gypsy", 100, 62.5)
    found = page_of(tmp_path, f"{SEEN} 30 103 200 13 re f 30 59 200 12 re f 1 g {' '.join(content)}")
    assert found["text"] == "Seen by all\nGypsy\nGypsy"


def test_white_text_on_underscores(tmp_path: Path) -> None:
    found = page_of(tmp_path, f"{SEEN} {line('_____________', 40, 100)} 1 g {line(HIDDEN, 40, 100)}")
    assert (found["text"], found["text_dropped"]) == ("Seen by all\n_____________", {"no contrast": 11})


BARS = " ".join(f"{x} 95 1 20 re" for x in range(55, 245, 3))


@pytest.mark.parametrize(
    ("hidden", "dropped"),
    [
        (f"{line(HIDDEN, 60, 100)} q 1 g 50 90 200 30 re f 0 g {BARS} f Q", "covered"),
        (f"{line(HIDDEN, 60, 100)} q 1 g 50 90 200 30 re f Q", "covered"),
        (f"q 1 g {line(HIDDEN, 60, 100)} Q", "covered"),  # by what is over it, which has no part in it
        (f"q 1 g {line(HIDDEN, 60, 100)} Q 0 g 55 104 150 1 re f", "covered"),  # and a ruled line crosses it
        (f"q 3 Tr {line(HIDDEN, 60, 100)} Q", "invisible"),
    ],
)
def test_what_hides_a_text_does_so_under_the_clear_part_of_an_image(tmp_path: Path, hidden: str, dropped: str) -> None:
    over = image(NOISE, 300, "/ColorSpace/DeviceGray/BitsPerComponent 8/SMask 11 0 R")
    found = page_of(
        tmp_path,
        f"{SEEN} {hidden} q 250 0 0 40 0 90 cm /P Do Q {line('and this', 40, 30)}",
        resources="/XObject<</P 10 0 R>>",
        objects={10: over, 11: image([bytes(300)] * 200, 300)},
    )
    assert found["text"] == "Seen by all\nand this"
    assert found["text_dropped"] == {dropped: len(HIDDEN.replace(" ", ""))}


@pytest.mark.parametrize("size", [1, 1.4])
def test_text_that_is_too_small_among_thin_signs_of_a_font_that_is_not(tmp_path: Path, size: float) -> None:
    found = page_of(
        tmp_path, f"{SEEN} {line('....', 40, 60)} {line('Hidden gypsy', 40, 100, size)} {line('- -', 40, 30)}"
    )
    assert found["text"] == "Seen by all\n....\n- -"
    assert found["text_dropped"] == {"too small to read": 11}


@pytest.mark.parametrize(
    ("cut", "text"),
    [
        (line("and so it goes off", 220, 100), "Seen by all\nand so it goe\nlast"),
        (line("two, on", 220, 100) + line("one line", 280, 100), "Seen by all\ntwo, on one\nlast"),
        (line("cut", 289, 100) + line("l'\351t\351", 40, 100), "Seen by all\nl'été cu\nlast"),
        (line("half", 285, 100, 20) + line("of it", -10, 60), "Seen by all\nh\nit\nlast"),
    ],
)
def test_text_that_ends_at_the_edge(tmp_path: Path, cut: str, text: str) -> None:
    assert page_of(tmp_path, f"{SEEN} {cut} {line('last', 40, 30)}")["text"] == text


@pytest.mark.parametrize(("top", "text"), [(155, "Hidden gypsy\nSeen by all"), (152, "Seen by all")])
def test_a_line_at_the_edge_of_the_page_is_on_it_whole_or_not(tmp_path: Path, top: int, text: str) -> None:
    content = f"{line('Hidden gypsy', 40, 150)} {line('Seen by all', 40, 100)}"
    assert page_of(tmp_path, content, page=f"/MediaBox[0 0 300 {top}]")["text"] == text


def test_one_space_stays_of_those_around_hidden_words(tmp_path: Path) -> None:
    content = "BT /F 14 Tf 40 100 Td (Start ) Tj 3 Tr (hidden ) Tj 0 Tr (end) Tj ET"
    assert page_of(tmp_path, content)["text"] == "Start end"


def test_invisible_words_count_where_something_else_paints_their_letters(tmp_path: Path) -> None:
    """As browsers print text that turns from red to blue: shapes as a soft mask, and the text without opacity."""
    run = "/Shading<</S<</ShadingType 2/ColorSpace/DeviceRGB/Coords[0 0 300 0]/Function<</FunctionType 2/Domain[0 1]"
    run += "/C0[1 0 0]/C1[0 0 1]/N 1>>/Extend[true true]>>>>"
    states = "/ExtGState<</G<</SMask<</S/Luminosity/G 10 0 R>>>>/N<</ca 0>>>>"
    mask = form(f"1 g {line('Waves', 40, 80, 24)}", "/Group<</S/Transparency/CS/DeviceGray>>")
    content = f"{SEEN} q /G gs /S sh Q q /N gs {line('Waves', 40, 80, 24)} {line('Hidden', 40, 30, 24)} Q"
    found = page_of(tmp_path, content, resources=run + states, objects={10: mask})
    assert (found["text"], found["text_dropped"]) == ("Seen by all\nWaves", {"invisible": 6})


@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
def test_a_turned_and_cropped_page_has_the_text_inside_the_crop(tmp_path: Path, rotation: int) -> None:
    content = line("Inside", 100, 100, 10) + line("Outside", 20, 20, 10) + line("Beyond", 220, 190, 10)
    found = page_of(tmp_path, content, page=f"/MediaBox[0 0 300 210]/CropBox[90 90 180 120]/Rotate {rotation}")
    assert found["text"] == "Inside"
    assert found["text_dropped"] == {"outside the page": 13}


@pytest.mark.parametrize("places", [(200, 180, 160), (160, 180, 200)])
def test_lines_that_run_down_keep_the_order_of_the_file(tmp_path: Path, places: tuple[int, ...]) -> None:
    """Lines of a turned text go from right to left, heads of columns from left to right."""
    texts = zip(places, ("First line", "Second line", "Third line"), strict=True)
    content = "".join(f"BT /F 14 Tf 0 -1 1 0 {x} 180 Tm ({words}) Tj ET " for x, words in texts)
    assert page_of(tmp_path, content)["text"] == "First line\nSecond line\nThird line"


def test_the_layer_of_a_scan_is_kept(tmp_path: Path) -> None:
    more = {"resources": "/XObject<</P 10 0 R>>", "objects": {10: image(SCAN, 300)}}
    picture = "q 300 0 0 200 0 0 cm /P Do Q"
    for content in (
        f"{picture} 3 Tr {line('Read by a machine', 40, 150)}",
        f"3 Tr {line('Read by a machine', 40, 150)} {picture}",
        f"{line('Read by a machine', 40, 150)} {picture}",
    ):
        found = page_of(tmp_path, content, **more)
        assert (found["text"], found["text_from"]) == ("Read by a machine", "ocr layer")
    found = page_of(tmp_path, f"{picture} 3 Tr {line('Read', 40, 150)} {line('stuffed with words', 40, 30)}", **more)
    assert (found["text"], found["text_dropped"]) == ("Read", {"invisible": 16})


@pytest.mark.parametrize(
    ("content", "text", "doubled"),
    [
        (f"{LAYER} {line('Reed by a mechine', 43, 143)} {line('end then again', 43, 78)}", LABEL, 0.5),
        (f"{LAYER} {line('And thin again', 40, 71)}", f"{LABEL}\nAnd thin again", 0.0),
        (f"{LAYER} 0 Tr {line('COPY', 45, 130, 60)}", f"{LABEL}\nCOPY", 0.0),
    ],
)
def test_lines_of_a_layer_that_are_partly_over_others(tmp_path: Path, content: str, text: str, doubled: float) -> None:
    """A second layer half a line lower repeats the first; the next line, and a large stamp over both, do not."""
    rows = [bytes(0 if 30 < y < 140 and y % 60 and x % 5 < 2 else 255 for x in range(300)) for y in range(200)]
    more = {"resources": "/XObject<</P 10 0 R>>", "objects": {10: image(rows, 300)}}
    found = page_of(tmp_path, f"q 300 0 0 200 0 0 cm /P Do Q 3 Tr {content}", **more)
    assert (found["text"], found["text_doubled"]) == (text.strip(), doubled)


def test_an_invisible_layer_over_visible_text_repeats_it(tmp_path: Path) -> None:
    more = {"resources": "/XObject<</P 10 0 R>>", "objects": {10: image(SCAN, 300)}}
    content = f"q 300 0 0 200 0 0 cm /P Do Q {SEEN} 3 Tr {line('Seem by al1', 41, 151)}"
    found = page_of(tmp_path, content, **more)
    assert (found["text"], found["text_doubled"]) == ("Seen by all", 0.5)


@pytest.mark.parametrize(
    ("annotation", "text"),
    [
        ("/Subtype/FreeText/F 4", "Seen by all\nStamped"),
        ("/Subtype/FreeText/F 2", "Seen by all"),  # hidden
        ("/Subtype/FreeText/F 32", "Seen by all"),  # not for the screen
        ("/Subtype/Popup/F 4", "Seen by all"),
        ("/Subtype/Link/F 4", "Seen by all\nStamped"),
        ("/Subtype/Stamp/F 0", "Seen by all\nStamped"),  # not for print
    ],
)
def test_annotations_as_viewers_draw_them(tmp_path: Path, annotation: str, text: str) -> None:
    entries = f"/MediaBox[0 0 300 200]/Annots[<</Type/Annot{annotation}/Rect[40 60 160 90]/AP<</N 10 0 R>>>>]"
    objects = {10: form(line("Stamped", 5, 8), box="0 0 120 30")}
    assert page_of(tmp_path, SEEN, page=entries, objects=objects)["text"] == text


def test_fields_come_after_what_is_left_of_them(tmp_path: Path) -> None:
    fields = "".join(
        f"<</Type/Annot/Subtype/Widget/FT/Tx/T({name})/F 4/Rect[{x} {y} {x + 80} {y + 18}]/AP<</N {number} 0 R>>>>"
        for name, x, y, number in (("city", 190, 147, 11), ("name", 85, 147, 10), ("day", 85, 97, 12))
    )
    values = zip((10, 11, 12), ("Ann", "Bern", "Monday"), strict=True)
    found = page_of(
        tmp_path,
        line("Name:", 40, 150) + line("of", 170, 150) + line("Day:", 40, 100) + line("End", 40, 40),
        page=f"/MediaBox[0 0 300 200]/Annots[{fields}]",
        catalog="/AcroForm<</Fields[]>>",
        objects={number: form(line(value, 2, 4), box="0 0 80 18") for number, value in values},
    )
    assert found["text"] == "Name: Ann of Bern\nDay: Monday\nEnd"


@pytest.mark.parametrize(
    ("content", "rect", "text"),
    [
        (line("Left", 40, 150) + line("Right", 210, 150), "80 145 200 175", "Left Stamped Right"),
        (line("Under words", 45, 150), "40 142 160 172", "Under Stamped words"),
        (line("Over", 40, 150) + line("under", 40, 60), "40 100 160 130", "Over\nStamped\nunder"),
        (SEEN, "40 60 40 60", "Seen by all"),
        ("", "40 60 160 90", "Stamped"),
    ],
)
def test_a_stamp_parts_no_word_and_no_line(tmp_path: Path, content: str, rect: str, text: str) -> None:
    entries = f"/MediaBox[0 0 300 200]/Annots[<</Type/Annot/Subtype/Stamp/F 4/Rect[{rect}]/AP<</N 10 0 R>>>>]"
    objects = {10: form(line("Stamped", 5, 8), box="0 0 120 30")}
    assert page_of(tmp_path, content, page=entries, objects=objects)["text"] == text


def test_text_that_is_a_clip_is_shown_where_something_is_painted_through_it(tmp_path: Path) -> None:
    clipped = "q BT /F 40 Tf 7 Tr 40 80 Td (Waves) Tj ET 0.8 0 0 rg 0 60 300 70 re f Q"
    found = page_of(tmp_path, f"{SEEN} {clipped}")
    assert (found["text"], found["text_visible"]) == ("Seen by all\nWaves", 1.0)


def test_an_annotated_page_that_inherits_its_size_keeps_it(tmp_path: Path) -> None:
    path = write_pdf(
        tmp_path / "x.pdf",
        SEEN,
        page="/Annots[<</Type/Annot/Subtype/FreeText/F 4/Rect[40 60 160 90]/AP<</N 10 0 R>>>>]",
        objects={
            2: "<</Type/Pages/Kids[3 0 R]/Count 1/MediaBox[0 0 300 200]>>",
            10: form("BT /F 14 Tf 2 8 Td (Stamped) Tj ET", box="0 0 120 30"),
        },
    )
    assert text_of(read(path)) == "Seen by all\nStamped"


def test_named_letters_in_a_form_are_where_they_are_drawn(tmp_path: Path) -> None:
    """PDFium gives letters under /ActualText in a moved and scaled form the place that they would have outside it."""
    text = "".join(
        f"/Span<</ActualText({name})>>BDC BT /F 56 Tf {x} 500 Td ({drawn}) Tj ET EMC "
        for x, name, drawn in [(40, "Of", "Of"), (140, "fl", "Q"), (190, "ows", "ows")]
    )
    content = f"{line('Said by all', 40, 20)} q .25 0 0 .25 20 -20 cm /X Do Q"
    found = page_of(tmp_path, content, resources="/XObject<</X 10 0 R>>", objects={10: form(text, box="0 0 1200 800")})
    assert (found["text"], found["text_visible"]) == ("Said by all\nOf flows", 1.0)


def test_a_stamp_whose_picture_is_a_hidden_layer_is_in_neither_picture_nor_label(tmp_path: Path) -> None:
    page = "/MediaBox[0 0 300 200]/Annots[30 0 R]"
    stamp = "<</Type/Annot/Subtype/Stamp/Rect[40 40 240 80]/F 4/AP<</N 31 0 R>>>>"
    shown, hidden = (
        read(
            write_pdf(
                tmp_path / f"{name}.pdf",
                SEEN,
                page=page,
                catalog=OCG,
                objects={**GROUP, 30: stamp, 31: form(line("Stamp", 4, 10), entries, "0 0 200 40")},
            )
        )
        for name, entries in (("shown", ""), ("hidden", "/OC 20 0 R"))
    )
    assert (text_of(shown), text_of(hidden)) == ("Seen by all\nStamp", "Seen by all")
    without = read(write_pdf(tmp_path / "none.pdf", SEEN))
    assert hidden.page.images == without.page.images != shown.page.images
