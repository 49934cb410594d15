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
