"""tools/truth/page.py: when a picture is looked at again, and what is asked of a label."""

from truth.ocr import FIRST, Reading, View
from truth.page import judge_page

LINES = [f"word{number} line{number}" for number in range(10, 60)]
BOX = (0.0, 0.0, 1.0, 1.0)


def reading(words: str, confidence: float = 95.0) -> Reading:
    listed = tuple(words.split())
    return Reading(words=listed, confidence=(confidence,) * len(listed), boxes=(BOX,) * len(listed), text=words)


def looks(label: str, by_view: dict[View, str], otherwise: str = "") -> tuple[list[View], float, float]:
    """The views that were asked for, precision and recall."""
    asked: list[View] = []

    def read(language: str, view: View) -> Reading:
        asked.append(view)
        return reading(by_view.get(view, otherwise))

    page = judge_page("k", label, read)
    return asked, page.precision, page.recall


def test_one_look_is_enough_for_a_true_label() -> None:
    label = "\n".join(LINES)
    assert looks(label, {FIRST: label}) == ([FIRST], 1.0, 1.0)


def test_what_another_view_shows_is_seen() -> None:
    """Half of the words are in the first view, the others only when the page is turned."""
    first, side = "\n".join(LINES[:25]), "\n".join(LINES[25:])
    views, precision, recall = looks("\n".join(LINES), {FIRST: first, View(turn=90): side})
    assert (views[0], views[-1], precision, recall) == (FIRST, View(turn=90), 1.0, 1.0)


def test_what_no_view_shows_is_not_seen() -> None:
    label = "\n".join(LINES)
    views, precision, recall = looks(label + "\nhidden secret", {FIRST: label}, otherwise=label)
    assert (len(views), precision, recall) == (3, 100 / 102, 1.0)
    views, precision, recall = looks(label, {})
    assert (len(views), precision, recall) == (6, 0.0, 1.0)


def test_drawn_words_that_the_label_lacks() -> None:
    def read(language: str, view: View) -> Reading:
        sure, unsure = reading("title stamp draft"), reading("smudge", confidence=59.9)
        return Reading(
            words=sure.words + unsure.words,
            confidence=sure.confidence + unsure.confidence,
            boxes=sure.boxes + unsure.boxes,
            text="",
        )

    page = judge_page("k", "Title", read)
    assert (page.precision, page.asked, page.recall) == (1.0, 3, 1 / 3)
    assert page.lacking == (("stamp", BOX), ("draft", BOX))
