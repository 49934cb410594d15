"""The page about what a model learned: curves, lines with what was written, and nothing that a text could do."""

from pathlib import Path

import numpy as np

from wdstream.report.learning import Curve, LearningView, WrittenLine, write_learning

PIXELS = np.full((28, 56, 3), 255, dtype=np.uint8)


def test_the_page_shows_both_curves_and_what_was_written(tmp_path: Path) -> None:
    lines = (
        WrittenLine(pixels=PIXELS, text="ab cd", written=("xx", "ab cd"), control="zz"),
        WrittenLine(pixels=PIXELS, text="ef", written=("<script>x</script>", "e\x1b[31mg"), control="q"),
    )
    view = LearningView(
        run=Curve(name="the run", points=((100, 1.5), (200, 0.05))),
        control=Curve(name="the control", points=((100, 0.9), (200, 0.9))),
        final=(0.025, 0.875),
        steps=(100, 200),
        lines=lines,
        facts=("It was made so.",),
    )
    write_learning(view, tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert '<b class="run">2.5 %</b>' in page and '<b class="control">87.5 %</b>' in page
    assert 'points="320.0,0 640.0,228.0 "' in page.replace(
        "0.0 640", "0 640"
    )  # half of the way, above the top; the end
    assert page.count("data:image/png;base64,") + page.count("data:image/jpeg;base64,") == 2
    assert page.count('<td class="right">ab cd</td>') == 1
    assert "<script>" not in page and "\x1b" not in page and "default-src 'none'" in page
    assert "after 200" in page and "It was made so." in page
