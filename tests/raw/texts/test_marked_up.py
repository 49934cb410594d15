import pytest

from wdstream.errors import SourceError
from wdstream.raw.texts.marked_up import html_pages, markdown_pages


def markdown(text: str) -> str:
    (page,) = markdown_pages(text)
    return page.text


@pytest.mark.parametrize(
    "text",
    [
        "# Title\n\n| a | b |\n|---|---|\n| 1 | $x^2$ |",
        "a [link](http://x.y/z.png) and *stress*\n\n<table><tr><td>1</td></tr></table>",
        "```\n![shown](as code)\n```",
        "````\n```\n![a](b.png)\n```\n![c](d.png) <!-- shown -->\n````",
        "Write `![alt](a.png)` and ``<!-- ` -->``, or \\![a](b.png)",
        "not an image: ! [a](b) and ![unclosed](",
        "---\n\na rule, no front matter",
    ],
)
def test_markdown_stays_as_it_is(text: str) -> None:
    assert markdown(text) == text


@pytest.mark.parametrize(
    "image",
    [
        "![](_page_0_Picture_1.jpeg)",
        "![what nobody\nsees](images/a_(1).png)",
        '![alt](<a b.png> "title")',
        "![alt][ref]",
        "[![alt](a.png)](http://x.y)",
        "![a figure [1] of](a.png)",
        "![alt](my image.png)",
        "![[a.png]]",
        "<!-- image -->",
        "<!-- formula-not-decoded -->",
        '<img src="a.png" alt="a > b">',
        f"![Image](data:image/png;base64,{'A' * 100_000})",
    ],
)
def test_images_go_and_are_counted(image: str) -> None:
    (page,) = markdown_pages(f"before\n\n{image}\n\nafter")
    assert page.text == "before\n\nafter"
    assert page.meta == {"text_from": "markdown", "text_images": 1}


def test_front_matter_goes() -> None:
    assert markdown("---\nprimary_language: en\nis_table: False\n---\n# Title\n\n---\nend") == "# Title\n\n---\nend"


@pytest.mark.parametrize(
    "mark",
    [
        "\n<!-- page break -->\n",
        "<!-- PageBreak -->",
        "\f",
        '\n<div style="page-break-after: always;"></div>\n',
        '<hr class="pagebreak">',
    ],
)
def test_marks_between_pages(mark: str) -> None:
    assert [page.text for page in markdown_pages(f"one{mark}two{mark}")] == ["one", "two"]


def test_marks_before_pages() -> None:
    rule = "-" * 48
    pages = markdown_pages(f"\n\n{{0}}{rule}\n\none\n\n{{1}}{rule}\n\n{{2}}{rule}\n\nthree")
    assert [page.text for page in pages] == ["one", "", "three"]
    with pytest.raises(SourceError, match="pages are missing"):
        markdown_pages(f"{{0}}{rule}\none\n{{2}}{rule}\nthree")
    assert len(markdown_pages(f"text before\n{{0}}{rule}\none")) == 1


def test_html_is_what_its_body_has() -> None:
    text = (
        "<!DOCTYPE html><html><head><title>t</title><style>p {}</style></head>\n<body class='x'>\n<h1>A &amp; B</h1>"
        "<!-- not seen --><script>1 < 2</script><figure><img src='data:image/png;base64,AAA='/></figure>"
        "\n</body></html>"
    )
    (page,) = html_pages(text)
    assert page.text == "<h1>A &amp; B</h1><figure></figure>"
    assert page.meta == {"text_from": "html", "text_images": 1}
    assert [page.text for page in html_pages("<p>1</p><!-- page break --><p>2</p>")] == ["<p>1</p>", "<p>2</p>"]


def test_comments_of_markdown_go() -> None:
    (page,) = markdown_pages('<!-- PageHeader="A\nB" -->\n\none <!-- two --> three\n\n<!-- open')
    assert (page.text, page.meta) == ("one  three\n\n<!-- open", {"text_from": "markdown"})


@pytest.mark.parametrize(
    "matter",
    [
        "---\ntags:\n- a\n- b\n---\n",
        "---\n# made by\ntitle: x\n\nauthor: y\n...\n",
        '+++\ntitle = "x"\n+++\n',
        "---\r\na: b\r\n\r\nc: d\r\n---\r\n",
    ],
)
def test_front_matter_of_other_forms(matter: str) -> None:
    assert markdown(f"{matter}text") == "text"


def test_what_is_a_break_of_a_page_of_html() -> None:
    def texts(body: str) -> list[str]:
        return [page.text for page in html_pages(f"<body>{body}</body>")]

    assert texts('<p style="page-break-inside: avoid">a</p>') == ['<p style="page-break-inside: avoid">a</p>']
    assert texts('<h1 style="page-break-after: avoid">a</h1>') == ['<h1 style="page-break-after: avoid">a</h1>']
    assert texts("a<br clear=all style='page-break-before:always'>b") == ["a", "b"]
    assert texts('a<div style="page-break-before: always">b</div>') == [
        "a",
        '<div style="page-break-before: always">b</div>',
    ]


def test_a_body_in_a_comment_or_a_script_is_none() -> None:
    head = "<!-- <body>no</body> --><html><head><script>'<body>'</script></head>"
    (page,) = html_pages(f"{head}<body class='a>b'><p>one</p></body></html>")
    assert page.text == "<p>one</p>"


def test_html_that_is_cut_off_is_refused() -> None:
    whole = "<html><body><p>one</p><p>two</p></body></html>"
    assert html_pages(whole)[0].text == "<p>one</p><p>two</p>"
    with pytest.raises(SourceError, match="the file is cut off"):
        html_pages(whole[:25])
    assert html_pages("<p>one</p><p>tw")[0].text == "<p>one</p><p>tw", "a fragment may end anywhere"
