"""Streams with damage: a tar costs its rest, and a run in which nothing could be trained on is an error.

Spans: train, nodes, runs.
"""

from collections import Counter
from pathlib import Path

import pytest

from tests.helpers.training import Workplace
from tests.train.test_lanes import listed, settings, write_tars
from wdstream.errors import PlanError
from wdstream.runs.page_trace import trace_page
from wdstream.storage.json_lines import read_lines
from wdstream.testing import make_pages


def pages_of(root: Path, count: int) -> dict[str, tuple[bytes, str]]:
    raw = make_pages(root, num_pages=count, seed=7)
    return {path.stem: (path.read_bytes(), path.with_suffix(".txt").read_text()) for path in raw.glob("*.jpg")}


def test_a_damaged_tar_costs_its_rest(workplace: Workplace, tmp_path: Path) -> None:
    """To the last page of all others; stopped and started again with the same pages, and one line in the quarantine."""
    tars = write_tars(tmp_path / "tars", pages_of(tmp_path / "raw", 24), 4)
    cut = tars / "01.tar"
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size * 2 // 3])
    chosen = settings(tars, "data.epochs=1", "train.max_steps=100", "data.max_bad_fraction=0.2")
    assert workplace.train(tmp_path / "whole", *chosen) == 0
    (bad,) = read_lines(tmp_path / "whole" / "quarantine.jsonl")
    assert bad["key"].startswith("01.tar/rest@")
    assert "is passed over" in bad["reason"]
    trained = Counter(key for line in listed(tmp_path / "whole") for keys in line["packs"].values() for key in keys)
    wanted = {f"{tar:02}.tar/{number:06}" for tar in (0, 2, 3) for number in range(6)}
    assert wanted == {key for key in trained if not key.startswith("01.tar")}
    assert set(trained.values()) == {1}
    assert 0 < len(trained) - len(wanted) < 6
    (place,) = [
        (line["step"], int(pack), keys.index("02.tar/000003"))
        for line in listed(tmp_path / "whole")
        for pack, keys in line["packs"].items()
        if "02.tar/000003" in keys
    ]
    for name in ("02.tar/000003", "02.tar/000003.jpg"):
        (one,) = trace_page(tmp_path / "whole", name).occurrences
        assert (one.name, one.step, one.pack, one.slot) == ("02.tar/000003", *place)
    assert len(trace_page(tmp_path / "whole", "000000").occurrences) == 4
    assert "is passed over" in trace_page(tmp_path / "whole", "01.tar/rest").remarks[0]
    with pytest.raises(PlanError, match="no page called 'nobody' in the"):
        trace_page(tmp_path / "whole", "nobody")
    stopped = (*chosen, "train.stop_after=2", "train.checkpoint_every=1")
    while workplace.train(tmp_path / "stopped", *stopped) == 0:
        if len(listed(tmp_path / "stopped")) == len(listed(tmp_path / "whole")):
            break
    assert listed(tmp_path / "stopped") == listed(tmp_path / "whole")
    assert [*read_lines(tmp_path / "stopped" / "quarantine.jsonl")] == [bad]


@pytest.mark.parametrize("keep", [0.5, 0.02])
def test_images_none_of_which_can_be_decoded(
    workplace: Workplace, tmp_path: Path, capfd: pytest.CaptureFixture[str], keep: float
) -> None:
    """Half of each image has a header, and a size; a fiftieth is none."""
    pages = {
        key: (image[: int(len(image) * keep)], text) for key, (image, text) in pages_of(tmp_path / "raw", 8).items()
    }
    tars = write_tars(tmp_path / "tars", pages, 2)
    everything = settings(tars, "data.epochs=1", "train.max_steps=100", "data.max_bad_fraction=1.0")
    assert workplace.train(tmp_path / "out", *everything) == 1
    assert "could be trained on, so the model is as it was: quarantine.jsonl" in capfd.readouterr().err
    assert not (tmp_path / "out" / "final").exists()
    assert workplace.train(tmp_path / "few", *settings(tars, "data.epochs=1", "train.max_steps=100")) == 1
    assert "pages failed, more than data.max_bad_fraction 0.01 allows" in capfd.readouterr().err


def test_no_tars_at_all(workplace: Workplace, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The same exit status as that of a folder without an index, which is not streamed."""
    (tmp_path / "empty").mkdir()
    assert workplace.train(tmp_path / "out", *settings(tmp_path / "empty")) == 1
    assert "no tars in this folder" in capfd.readouterr().err
    assert workplace.train(tmp_path / "out", f"data.train=[{{path: {tmp_path / 'empty'}}}]") == 1
