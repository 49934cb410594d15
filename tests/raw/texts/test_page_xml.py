import pytest

from tests.helpers.paths import DATA
from wdstream.raw.texts.formats import read_markup
from wdstream.raw.texts.page_text import FoundText

NAMESPACE = "http://schema.primaresearch.org/PAGE/gts/pagecontent/"
CRLF = "\r\n"


def text(content: str, more: str = "") -> str:
    return f"<TextEquiv {more}><Unicode>{content}</Unicode></TextEquiv>"


def line(content: str, more: str = "") -> str:
    return f"<TextLine {more}>{text(content)}</TextLine>"


def region(name: str, *inner: str, more: str = "") -> str:
    return f'<TextRegion id="{name}" {more}>{"".join(inner)}</TextRegion>'


def read(body: str, version: str = "2019-07-15", size: str = 'imageWidth="200" imageHeight="100"') -> FoundText:
    (page,) = read_markup(f'<PcGts xmlns="{NAMESPACE}{version}"><Page {size}>{body}</Page></PcGts>'.encode())
    return page


@pytest.mark.parametrize(
    "version", ["2009-03-16", "2010-03-19", "2013-07-15", "2017-07-15", "2018-07-15", "2019-07-15"]
)
def test_every_version(version: str) -> None:
    assert read(region("a", line("one"), line("two")) + region("b", line("three")), version).text == "one\ntwo\n\nthree"


def test_the_reading_order_with_groups_in_groups() -> None:
    order = (
        '<ReadingOrder><OrderedGroup id="g"><RegionRefIndexed index="10" regionRef="e"/>'
        '<UnorderedGroupIndexed id="u" index="2"><RegionRef regionRef="c"/><RegionRef regionRef="b"/>'
        '</UnorderedGroupIndexed><OrderedGroupIndexed id="o" index="1" regionRef="t"><RegionRefIndexed index="1" '
        'regionRef="a"/><RegionRefIndexed index="0" regionRef="f"/></OrderedGroupIndexed>'
        '<RegionRefIndexed index="3" regionRef="absent"/></OrderedGroup></ReadingOrder>'
    )
    regions = "".join(region(name, line(name)) for name in "abcdef")
    table = f'<TableRegion id="t">{region("t1", line("t1"))}</TableRegion>'
    assert read(order + regions + table).text.split() == ["t1", "f", "a", "c", "b", "e", "d"]


def test_a_region_inside_that_has_its_own_place() -> None:
    order = (
        '<ReadingOrder><OrderedGroup id="g"><RegionRefIndexed index="0" regionRef="in"/>'
        '<RegionRefIndexed index="1" regionRef="out"/></OrderedGroup></ReadingOrder>'
    )
    assert read(order + region("out", line("outer"), region("in", line("inner")))).text == "inner\n\nouter"
    assert read(region("out", line("outer"), region("in", line("inner")))).text == "outer\n\ninner"


def test_the_order_that_transkribus_writes() -> None:
    def custom(index: int) -> str:
        return f'custom="structure {{type:x;}} readingOrder {{index:{index};}}"'

    lines = line("2", custom(1)), line("1", custom(0))
    assert read(region("b", line("3"), more=custom(1)) + region("a", *lines, more=custom(0))).text == "1\n2\n\n3"
    assert read(region("a", line("1", custom(1)), line("2"))).text == "1\n2", "only where all have one"
    assert read(region("a", line("2", 'index="1"'), line("1", 'index="0"'))).text == "1\n2"


def test_cells_of_a_table() -> None:
    cells = "".join(
        f'<TableCell id="c{row}{column}" row="{row}" col="{column}">{line(f"{row}{column}")}</TableCell>'
        for row, column in ((1, 0), (0, 1), (0, 0))
    )
    assert read(f'<TableRegion id="t">{cells}</TableRegion>').text.split() == ["00", "01", "10"]


def test_which_text_of_a_line() -> None:
    several = text("worse", 'index="2" conf="0.1"') + text("better", 'index="0" conf="0.8"') + text("none")
    plain = "<TextEquiv><PlainText>plain</PlainText></TextEquiv>"
    both = "<TextEquiv><PlainText>plain</PlainText><Unicode>Ünicode</Unicode></TextEquiv>"
    empty = "<TextEquiv><PlainText>plain</PlainText><Unicode/></TextEquiv>"
    lines = "".join(f"<TextLine>{content}</TextLine>" for content in (several, plain, both, empty, "", text("  ")))
    found = read(region("a", lines))
    assert found.text == "better\nplain\nÜnicode\nplain"
    assert found.meta["text_confidence"] == 0.8


def test_words_glyphs_and_regions_give_the_text_of_lines_without() -> None:
    sure = text("one", 'conf="0.5"')
    words = f"<TextLine><Word>{sure}</Word><Word>{text('two')}</Word></TextLine>"
    glyphs = f"<TextLine><Word><Glyph>{text('a')}</Glyph><Glyph>{text('b')}</Glyph></Word></TextLine>"
    assert read(region("a", words, glyphs)).text == "one two\nab"
    assert read(region("a", words)).meta["text_confidence"] == 0.5
    assert read(region("a", "<TextLine/>", text(f"first{CRLF}second"))).text == "first\nsecond"
    assert read(region("a", line("its line"), text("its region"))).text == "its line"


def test_hyphens_at_line_ends() -> None:
    found = read(region("a", line("Ver¬"), line("waltungs⸗"), line("ge\u00ad"), line("p ¬"), line("a¬b")))
    assert found.text == "Ver-\nwaltungs⸗\nge-\np ¬\na¬b"


def test_what_else_is_known() -> None:
    new = f'<TextLine><Coords points="10,20 50,22 50,40 10,38"/>{text("new")}</TextLine>'
    old = f'<TextLine><Coords><Point x="1" y="2"/><Point x="9" y="8"/></Coords>{text("old")}</TextLine>'
    bad = f'<TextLine><Coords points="nothing"/>{text("bad")}</TextLine>'
    body = region("a", new, old, bad, more='type="heading" primaryLanguage="German"')
    assert read(body).on_image((400, 200)) == {
        "text_from": "page xml",
        "language": "de",
        "text_tags": ["heading"],
        "line_boxes": [[20, 40, 100, 80], [2, 4, 18, 16], None],
    }
    assert read(body, size="").on_image((400, 200))["line_boxes"] == [[10, 20, 50, 40], [1, 2, 9, 8], None]


REAL = {
    "align": "patrofikulo",
    "content-no-words": "CONTENT BUT NO WORDS",
    "region_no_line": "CONTENT BUT NO LINES",
    "language": "patrofikulo",
    "layouttag": "patrofikulo",
    "sp-hyp": "fiku la poli-\ncon",
}


@pytest.mark.parametrize("name", REAL)
def test_files_of_a_converter(name: str) -> None:
    (page,) = read_markup((DATA / f"texts/{name}.page.xml").read_bytes())
    assert page.text == REAL[name]


def test_a_page_of_ground_truth() -> None:
    (page,) = read_markup((DATA / "texts/mixed-regions.page.xml").read_bytes())
    lines = page.text.split("\n")
    assert lines[0] == "phariſei hypocritæ, qui comeditis domos uiduarã ſub"
    assert "orationes ueſtræ nõ ſiunt Deo acceptæ, neq; ab eo ex⸗" in lines


def test_a_region_whose_text_repeats_that_of_regions_inside_of_it() -> None:
    inner = region("b", line("inner"))
    assert read(region("a", inner, text("inner"))).text == "inner"
    assert read(region("a", region("b"), text("own"))).text == "own"


def test_lines_without_text_in_a_region_that_has_it() -> None:
    found = read(region("a", line("one"), "<TextLine/>", text("one\ntwo")))
    assert (found.text, found.boxes) == ("one\ntwo", ())
    assert read(region("a", line("one"), line("two"), text("one\nand more than two"))).text == "one\ntwo"


def test_a_text_that_is_empty_gives_way_to_the_next() -> None:
    texts = text("", 'index="0"') + text("one", 'index="1"')
    assert read(region("a", f"<TextLine>{texts}</TextLine>")).text == "one"


def test_cells_by_their_roles() -> None:
    role = '<Roles><TableCellRole rowIndex="0" columnIndex="{}"/></Roles>'
    cells = [region(name, role.format(column), line(name)) for name, column in (("b", 1), ("a", 0))]
    assert read(f"<TableRegion>{''.join(cells)}</TableRegion>").text == "a\n\nb"


def test_the_language_is_that_of_most_lines() -> None:
    heading = region("a", line("one"), more='primaryLanguage="English"')
    note = region("b", text("two"), more='primaryLanguage="English"')
    body = region("c", line("drei"), line("vier"), line("fünf"), more='primaryLanguage="German"')
    assert read(heading + note + body).meta["language"] == "de"
    own = [line(word, 'primaryLanguage="French"') for word in ("un", "deux")]
    assert read(region("d", *own, line("three"), more='primaryLanguage="English"')).meta["language"] == "fr"
