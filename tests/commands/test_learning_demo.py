"""`wdstream demo --learn`: its lines quickly, the whole of it as a slow test: it learns, and its control does not."""

import io
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image
from rich.console import Console

from tests.helpers.paths import ROOT
from wdstream.commands.demo import MARKER, run_demo
from wdstream.commands.learning_demo import (
    LEARNED,
    NOT_LEARNED,
    draw_lines,
    make_learning_overrides,
    make_texts,
    prepare_folder,
    run_learning,
)
from wdstream.config.schema import load_config
from wdstream.errors import ConfigError

CONFIG = ROOT / "configs" / "demo-learn.yaml"


def test_held_out_lines_are_other_lines_and_always_the_same() -> None:
    texts, held_out = make_texts(300, 20)
    assert (len(set(texts)), len(set(held_out))) == (300, 20)
    assert not {*texts} & {*held_out}
    assert make_texts(300, 20) == (texts, held_out)


@pytest.mark.parametrize("demo", [run_learning, partial(run_demo, Path("pages"))])
def test_elsewhere_than_in_a_clone_nothing_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, demo: Callable[[Path], object]
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=r"configs/demo.*: there is no such file in .*a clone of the repository"):
        demo(tmp_path / "demo")
    assert not [*tmp_path.iterdir()]


def test_a_line_is_drawn_with_its_label(tmp_path: Path) -> None:
    draw_lines(tmp_path / "raw", ["ab cd", "w xyz"], ["ab cd", "other"])
    assert (tmp_path / "raw" / "line-00001.txt").read_text() == "other"
    with Image.open(tmp_path / "raw" / "line-00000.png") as image:
        assert image.height == 28 and image.width % 28 == 0
        grey = np.asarray(image.convert("L"))
    assert grey.min() < 100 and grey.max() == 255


def test_only_its_own_part_of_the_demos_folder_is_emptied(tmp_path: Path) -> None:
    work = tmp_path / "demo"
    assert prepare_folder(work) == work / "learn"
    (work / "shards").mkdir()
    (work / "learn" / "run").mkdir()
    prepare_folder(work)
    assert sorted(path.name for path in work.iterdir()) == ["learn", MARKER, "shards"]
    assert [path.name for path in (work / "learn").iterdir()] == [MARKER]
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(ConfigError, match="mine: holds files that are not of a demo"):
        prepare_folder(tmp_path / "mine")


def test_the_configuration_is_the_run_that_the_demo_starts() -> None:
    tree = yaml.safe_load(CONFIG.read_text())
    overrides = make_learning_overrides(Path("demo/learn"), "run", "lines", tree["train"]["max_steps"])
    assert load_config(CONFIG, overrides) == load_config(CONFIG)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_it_learns_and_the_control_does_not(tmp_path: Path) -> None:
    page = io.StringIO()
    report = run_learning(tmp_path / "demo", config_path=CONFIG, console=Console(file=page, width=120))
    assert report.is_learned
    assert report.final[0] < LEARNED < NOT_LEARNED < report.final[1]
    assert report.cer[0][1] > NOT_LEARNED  # nobody had taught it before
    assert min(cer for _, cer in report.control) > NOT_LEARNED
    assert f"the report: {report.page}" in page.getvalue()
    html = report.page.read_text(encoding="utf-8")
    assert html.count("data:image/") == 8 and '<td class="right">' in html
