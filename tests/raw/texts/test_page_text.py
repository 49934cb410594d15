import pytest

from wdstream.errors import SourceError
from wdstream.raw.texts.page_text import FoundText, TextLine


def test_blocks_become_lines_with_a_blank_line_between_blocks() -> None:
    blocks = [
        [TextLine(text="one", box=(10, 10, 60, 20)), TextLine(text=" \n"), TextLine(text="two\u00ad")],
        [TextLine(text="")],
        [TextLine(text="three\nfour \x07", box=(10, 90, 200, 99))],
    ]
    found = FoundText.of_blocks(
        blocks, text_from="alto", extent=(100, 100), confidences=(0.5, 1.0), language="deu", tags=("a", "b", "a")
    )
    assert found.text == "one\ntwo-\n\nthree four"
    assert found.on_image((200, 202)) == {
        "text_from": "alto",
        "text_confidence": 0.75,
        "language": "de",
        "text_tags": ["a", "b"],
        "line_boxes": [[20, 20, 120, 41], None, [20, 181, 200, 200]],
    }


def test_what_is_not_known_is_not_said() -> None:
    found = FoundText.of_blocks([[TextLine(text="one")]], text_from="rapidocr", language="und")
    assert found.on_image((5, 5)) == {"text_from": "rapidocr"}
    assert FoundText.of_blocks([], text_from="alto").text == ""


@pytest.mark.parametrize(
    "box", [(-9.0, 2.0, -1.0, 5.0), (5.0, 5.0, 5.0, 9.0), (9.0, 9.0, 1.0, 1.0), (101.0, 0.0, 110.0, 10.0)]
)
def test_boxes_of_nothing_are_left_out(box: tuple[float, float, float, float]) -> None:
    line = TextLine(text="x", box=box)
    found = FoundText.of_blocks([[line]], text_from="alto", extent=(100, 100))
    assert found.on_image((100, 100))["line_boxes"] == [None]


def test_the_text_of_another_picture() -> None:
    found = FoundText.of_blocks([[TextLine(text="x", box=(0, 0, 9, 9))]], text_from="alto", extent=(2480, 3508))
    assert "line_boxes" in found.on_image((1240, 1754))
    assert "line_boxes" in found.on_image((2400, 3500)), "cut a little"
    with pytest.raises(SourceError, match=r"another picture: of 2480 x 3508, the image has 500 x 500 pixels"):
        found.on_image((500, 500))
    with pytest.raises(SourceError, match="turned by a quarter"):
        found.on_image((3508, 2480))
    assert found.on_image((3508, 2480), check_size=False) == {"text_from": "alto"}
