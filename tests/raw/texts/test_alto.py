import pytest

from tests.helpers.paths import DATA
from wdstream.raw.texts.formats import read_markup
from wdstream.raw.texts.page_text import FoundText

NAMESPACES = [
    "",
    ' xmlns="http://schema.ccs-gmbh.com/ALTO"',
    ' xmlns="http://bibnum.bnf.fr/ns/alto_prod"',
    ' xmlns="http://www.loc.gov/standards/alto/ns-v2#"',
    ' xmlns="http://www.loc.gov/standards/alto/ns-v3#"',
    ' xmlns="http://www.loc.gov/standards/alto/ns-v4#"',
]


def word(text: str, more: str = "") -> str:
    return f'<String CONTENT="{text}" {more}/>'


def line(*parts: str, more: str = "") -> str:
    return f"<TextLine {more}>{'<SP/>'.join(parts)}</TextLine>"


def block(name: str, *lines: str, more: str = "") -> str:
    return f'<TextBlock ID="{name}" {more}>{"".join(lines)}</TextBlock>'


def alto(body: str, *, page: str = "", before: str = "", namespace: str = "") -> bytes:
    return (
        f"<alto{namespace}>{before}<Layout><Page {page}><PrintSpace>{body}</PrintSpace></Page></Layout></alto>".encode()
    )


def read(data: bytes, **options: bool) -> FoundText:
    (page,) = read_markup(data, **options)
    return page


@pytest.mark.parametrize("namespace", NAMESPACES)
def test_lines_and_blocks_of_every_version(namespace: str) -> None:
    body = block("a", line(word("one"), word("two")), line(word("three"))) + block("b", line(word("four")))
    assert read(alto(body, namespace=namespace)).text == "one two\nthree\n\nfour"


def test_a_prefix_and_elements_of_other_namespaces() -> None:
    data = (
        '<a:alto xmlns:a="http://www.loc.gov/standards/alto/ns-v4#" xmlns:b="urn:other"><a:Layout><a:Page>'
        "<a:PrintSpace>"
        '<a:TextBlock><a:TextLine><a:String CONTENT="seen"/><b:String CONTENT="not"/></a:TextLine></a:TextBlock>'
        "</a:PrintSpace></a:Page></a:Layout></a:alto>"
    )
    assert read(data.encode()).text == "seen"


DIVIDED = block(
    "a",
    line(word("die"), word("Ver", 'SUBS_TYPE="HypPart1" SUBS_CONTENT="Verwaltung"') + '<HYP CONTENT="{}"/>'),
    line(word("waltung", 'SUBS_TYPE="HypPart2" SUBS_CONTENT="Verwaltung"'), word("ist")),
)


@pytest.mark.parametrize(
    ("hyphen", "shown"), [("-", "-"), ("", "-"), ("\u00ad", "-"), ("\u00ac", "-"), ("\u2e17", "\u2e17"), ("Â¬", "-")]
)
def test_a_divided_word_is_as_the_picture_shows_it(hyphen: str, shown: str) -> None:
    data = alto(DIVIDED.replace("{}", hyphen))
    assert read(data).text == f"die Ver{shown}\nwaltung ist"
    assert read(data, join_hyphens=True).text == "die Verwaltung\nist"


def test_a_hyphen_is_not_doubled_and_a_line_of_a_second_part_alone_goes_when_joined() -> None:
    body = block(
        "a",
        line(word("Ver-", 'SUBS_TYPE="HypPart1" SUBS_CONTENT="Verein"'), "<HYP/>"),
        line(word("ein", 'SUBS_TYPE="HypPart2" SUBS_CONTENT="Verein"')),
        line(word("da")),
    )
    assert read(alto(body)).text == "Ver-\nein\nda"
    assert read(alto(body), join_hyphens=True).text == "Verein\nda"


def test_the_links_between_blocks_are_their_order() -> None:
    body = block("a", line(word("1")), more='IDNEXT="c"') + block("b", line(word("4"))) + block("c", line(word("2")))
    assert read(alto(body)).text == "1\n\n2\n\n4"
    ring = block("a", line(word("1")), more='IDNEXT="b"') + block("b", line(word("2")), more='IDNEXT="a"')
    assert read(alto(ring)).text == "1\n\n2"
    nested = (
        f'<ComposedBlock ID="x" IDNEXT="c">{block("a", line(word("1")))}</ComposedBlock>{block("b", line(word("3")))}'
    )
    assert read(alto(nested + block("c", line(word("2"))))).text == "1\n\n2\n\n3"


def test_a_reading_order_of_blocks_and_lines() -> None:
    body = block("a", line(word("3"), more='ID="a1"'), line(word("1"), more='ID="a2"')) + block("b", line(word("2")))
    order = (
        '<ReadingOrder><OrderedGroup ID="g"><ElementRef ID="r1" REF="a2"/><UnorderedGroup ID="u">'
        '<ElementRef ID="r2" REF="b nothing"/></UnorderedGroup></OrderedGroup></ReadingOrder>'
    )
    assert read(alto(body, before=order)).text == "1\n\n2\n\n3"
    elsewhere = '<ReadingOrder><OrderedGroup ID="g"><ElementRef ID="r" REF="zzz"/></OrderedGroup></ReadingOrder>'
    assert read(alto(body, before=elsewhere)).text == "3\n1\n\n2"


def test_margins_are_where_they_are_seen() -> None:
    spaces = "".join(
        f"<{name}>{block(name, line(word(name)))}</{name}>"
        for name in ("TopMargin", "LeftMargin", "RightMargin", "BottomMargin", "PrintSpace")
    )
    data = f"<alto><Layout><Page>{spaces}</Page></Layout></alto>".encode()
    assert read(data).text.split() == ["TopMargin", "LeftMargin", "PrintSpace", "RightMargin", "BottomMargin"]


def test_what_else_is_known() -> None:
    tags = '<Tags><LayoutTag ID="t1" LABEL="heading"/><OtherTag ID="t2"/></Tags>'
    box = 'HPOS="100" VPOS="200" WIDTH="300" HEIGHT="50"'
    body = block(
        "a",
        line(word("one", 'WC="0.5"'), word("two", 'WC="1"'), word("three", 'WC="7"'), more=box),
        line(word("by words", 'HPOS="0" VPOS="300" WIDTH="10" HEIGHT="5"'), more='HPOS="-1"'),
        line(word("nowhere"), more='HPOS="1" VPOS="2" WIDTH="-30" HEIGHT="NaN"'),
        more='LANG="deu" TAGREFS="t1 t2 t3"',
    )
    unit = "<Description><MeasurementUnit>mm10</MeasurementUnit></Description>"
    found = read(alto(body, page='WIDTH="2100" HEIGHT="2970"', before=unit + tags))
    assert found.on_image((1050, 1485)) == {
        "text_from": "alto",
        "text_confidence": 0.75,
        "language": "de",
        "text_tags": ["heading"],
        "line_boxes": [[50, 100, 200, 125], [0, 150, 5, 153], None],
    }
    without_size = read(alto(body, before=unit))
    assert "line_boxes" not in without_size.on_image((1050, 1485)), "tenths of millimetres of an unknown size"
    in_pixels = read(alto(body))
    assert in_pixels.on_image((1050, 1485))["line_boxes"] == [[100, 200, 400, 250], [0, 300, 10, 305], None]


def test_a_polygon_and_the_confidence_of_the_page() -> None:
    shape = '<Shape><Polygon POINTS="10,20 30,20 30,44 10,40"/></Shape>'
    data = alto(f"<TextBlock><TextLine>{shape}{word('x')}</TextLine></TextBlock>", page='PC="0.9"')
    found = read(data).on_image((100, 100))
    assert (found["line_boxes"], found["text_confidence"]) == ([[10, 20, 30, 44]], 0.9)


def test_han_letters_have_no_spaces_between() -> None:
    assert read(alto(block("a", line(word("漢"), word("字"), word("OCR"), word("です"))))).text == "漢字 OCR です"


def test_blocks_in_blocks_and_lines_without_text() -> None:
    inner = block("a", line(word("1")), line(word(" ")), line())
    body = f"<ComposedBlock><ComposedBlock>{inner}</ComposedBlock><Illustration/></ComposedBlock>" + block("b")
    assert read(alto(body)).text == "1"


def test_blocks_outside_of_every_space() -> None:
    data = f"<alto><Layout><Page>{block('a', line(word('x')))}</Page></Layout></alto>"
    assert read(data.encode()).text == "x"


def test_two_pages() -> None:
    page = f"<Page><PrintSpace>{block('a', line(word('x')))}</PrintSpace></Page>"
    assert len(read_markup(f"<alto><Layout>{page}{page}</Layout></alto>".encode())) == 2


@pytest.mark.parametrize("name", ["tesseract-phototest", "tesseract-eurotext", "leptonlib-german", "pillow-g4-multi"])
@pytest.mark.parametrize("suffix", [".alto.xml", ".hocr"])
def test_what_tesseract_writes_is_its_own_text(name: str, suffix: str) -> None:
    folder = DATA / "texts"
    pages = read_markup((folder / f"{name}{suffix}").read_bytes())
    written = (folder / f"{name}.txt").read_text().removesuffix("\f").split("\f")
    assert [page.text.split() for page in pages] == [text.split() for text in written]
    lines = [[line for line in text.split("\n") if line.strip()] for text in written]
    assert [[line for line in page.text.split("\n") if line] for page in pages] == lines
    assert [len(page.boxes) for page in pages] == [len(page) for page in lines]
    assert all(0.2 < float(str(page.meta["text_confidence"])) <= 1 for page in pages)


def test_lines_outside_of_every_block() -> None:
    body = f"{line(word('one'))}{line(word('two'))}{block('a', line(word('three')))}"
    assert read(alto(f"{body}<ComposedBlock>{line(word('four'))}</ComposedBlock>")).text == (
        "one\ntwo\n\nthree\n\nfour"
    )


def test_a_line_may_have_a_language_of_its_own() -> None:
    lines = [line(word(text), more='LANG="fra"') for text in ("un", "deux")]
    assert read(alto(block("a", *lines, line(word("drei")), more='LANG="deu"'))).meta["language"] == "fr"
    assert read(alto(block("a", *lines))).meta["language"] == "fr"
