"""The programs of docs/nodes.md, run as they are, one after the other as a reader would.

Spans: nodes, docs.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import webdataset

from tests.helpers.paths import ROOT
from wdstream.testing import make_pages

DOC = ROOT / "docs" / "nodes.md"


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path, small_shards: Path) -> Iterator[dict[str, Any]]:
    """What the programs leave, by name."""
    folder = tmp_path_factory.mktemp("reader")
    (folder / "models").mkdir()
    (folder / "models" / "tiny").symlink_to(tiny_model)
    (folder / "shards").symlink_to(small_shards)
    pages = sorted(make_pages(folder / "raw", num_pages=9).glob("*.jpg"))
    for page in pages:
        page.with_suffix(".txt").write_text(page.with_suffix(".txt").read_text()[:200])
    (folder / "tars").mkdir()
    for number in range(5):
        with webdataset.TarWriter(str(folder / "tars" / f"{number}.tar")) as writer:
            for page in pages[2 * number : 2 * number + 2]:
                text = page.with_suffix(".txt").read_text()
                writer.write({"__key__": page.stem, "jpg": page.read_bytes(), "txt": text})
    found: dict[str, Any] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for program in re.findall(r"```python\n(.*?)```", DOC.read_text(encoding="utf-8"), re.DOTALL):
            exec(compile(program, str(DOC), "exec"), found)
        yield found


def test_a_changed_world_continues(names: dict[str, Any]) -> None:
    assert sorted(names["whole"]) == list(range(32))
    assert sorted(names["before"]) == list(range(16))


def test_the_loss_of_a_step_is_the_mean_over_its_tokens(names: dict[str, Any]) -> None:
    losses: list[torch.Tensor] = []
    for batch in names["batches"]:
        inputs = names["family"].model_inputs(batch, device="cpu", dtype=torch.float32)
        labels = inputs.pop("labels")[:, 1:].flatten()
        with torch.no_grad():
            logits = names["model"](**inputs).logits[:, :-1].flatten(0, 1)
        losses.append(torch.nn.functional.cross_entropy(logits, labels, reduction="none")[labels != -100])
    assert sum(map(len, losses)) == names["batches"][0]["num_supervised"]
    assert names["total"] == pytest.approx(float(torch.cat(losses).mean()), rel=1e-5)


def test_every_page_of_the_tars_comes_once(names: dict[str, Any]) -> None:
    assert sorted(key.rsplit("/", 1)[1] for key in names["streamed"]) == [f"page-{number:05}" for number in range(9)]
    assert names["saved"]["step"] >= 1


def test_own_samples_continue_after_a_resume(names: dict[str, Any]) -> None:
    pages = [
        key for keys in [*names["first"]["keys"], *(row for rows in names["resumed"] for row in rows)] for key in keys
    ]
    assert sorted(pages) == [f"page-{number:05}" for number in range(9)]


def test_all_names_are_there() -> None:
    import wdstream
    import wdstream.nodes

    for module in (wdstream, wdstream.nodes):
        assert all(getattr(module, name).__name__ == name for name in module.__all__)
        assert sorted(module.__all__) == sorted(module._HOMES)
    assert set(wdstream.__all__) <= set(dir(wdstream))
    with pytest.raises(AttributeError, match=r"'wdstream.nodes' has no attribute 'Batch'; it offers BatchMap, Collate"):
        wdstream.nodes.__getattr__("Batch")
