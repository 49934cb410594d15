"""Tars whose samples need a map, through index and plan, a stream, make-shards and nodes: the same pages.

Spans: text, shards, make_shards, nodes, pipeline, verify, config.
"""

import json
import logging
import subprocess
import sys
from itertools import islice, takewhile
from pathlib import Path
from typing import Any

import pytest
import torchdata.nodes as tn
import webdataset
import yaml
from PIL import Image

from wdstream.config.build import lanes_from_config
from wdstream.config.schema import config_from_tree
from wdstream.errors import ConfigError, ShardIndexError
from wdstream.families.registry import load_family
from wdstream.make_shards import MakeShardsOptions, index_folder, make_shards
from wdstream.nodes import Decode
from wdstream.nodes.as_page import as_page
from wdstream.pipeline.planned import Plan
from wdstream.records import Page, TextSegment
from wdstream.shards.describe import TarRules
from wdstream.shards.reader import Shards
from wdstream.text.row_forms import DEFAULT_RULES, rules_with_map
from wdstream.tiling.policy import TilingPolicy

MAP = "image=scan.png,text=json:page.caption"
TEXTS = {f"p{number}": f"page number {number}" for number in range(4)}


def rules(text: str) -> TarRules:
    return TarRules(rows=rules_with_map(DEFAULT_RULES, text))


@pytest.fixture
def tars(tmp_path: Path) -> Path:
    """As webdataset writes them: the text deep in the json, a part with a dot, and a text that is not the label."""
    folder = tmp_path / "tars"
    folder.mkdir()
    Image.new("L", (60, 40), 200).save(tmp_path / "scan.png")
    with webdataset.TarWriter(str(folder / "a.tar"), mtime=0) as writer:
        for key, text in TEXTS.items():
            fields = {"page": {"caption": text, "lang": "en"}, "url": "https://a.b/c.jpg"}
            parts = {
                "scan.png": (tmp_path / "scan.png").read_bytes(),
                "txt": b"a file name",
                "json": json.dumps(fields).encode(),
            }
            writer.write({"__key__": key, **parts})
    return folder


def texts(pages: Any) -> dict[str, str]:
    return {
        page.key.rpartition("/")[2].rpartition("@")[2]: "".join(
            s.text for s in page.segments if isinstance(s, TextSegment)
        )
        for page in pages
    }


def test_an_index_keeps_its_map(tars: Path, tiny_model: Path) -> None:
    report = index_folder(tars, tiny_model, rules=rules(MAP), workers=1)
    assert [note for note in report.notes if "looked at" in note] == [
        "of 4 samples looked at, a.tar: 4 rows are read as image=scan.png, text=json.page.caption",
        "of 4 samples looked at, not used, kept as metadata: page (4), txt (4), url (4)",
    ]
    shards = Shards.open(tars)
    assert texts(map(shards.read_page, range(4))) == TEXTS
    fingerprint = shards.fingerprint
    assert index_folder(tars, tiny_model, workers=1).index.catalog.field_map == MAP  # and again, without a word
    done = subprocess.run([sys.executable, "-m", "wdstream", "verify", str(tars)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    with pytest.raises(ConfigError, match=r"was indexed by the map .* give --rebuild"):
        index_folder(tars, tiny_model, rules=rules("image=scan.png,text=txt"), workers=1)
    assert texts(map(Shards.open(tars).read_page, range(4))) == TEXTS
    index_folder(tars, tiny_model, rules=rules("image=scan.png,text=txt"), rebuild=True, workers=1)
    other = Shards.open(tars)
    assert set(texts(map(other.read_page, range(4))).values()) == {"a file name"}
    assert other.fingerprint != fingerprint


def test_a_map_that_fits_no_sample_is_an_error(tars: Path) -> None:
    with pytest.raises(ShardIndexError, match=r"no json:page\.captoin here.*near it: json\.page\.caption"):
        index_folder(tars, rules=rules("image=scan.png,text=json:page.captoin"), workers=1)
    assert index_folder(tars, rules=rules(MAP), workers=1).index.catalog.num_samples == 4  # mended


def test_a_stream_by_the_map_of_the_configuration(
    tars: Path, tiny_model: Path, caplog: pytest.LogCaptureFixture
) -> None:
    index_folder(tars, tiny_model, rules=rules(MAP), workers=1)
    tree = yaml.safe_load(
        f"""
        model: {{path: {tiny_model}}}
        data:
          train: [{{path: "{tars}/a.tar"}}]
          streaming: {{lanes: 1, map: {{image: scan.png, text: "json:page.caption"}}}}
          {{sizes}}
        tiling: {{kind: none}}
        """.replace(
            "{sizes}",
            "sequence_length: 256\n          max_patches: 4096\n          global_batch_size: 1\n          epochs: 1",
        )
    )
    config = config_from_tree(tree, (), Path("c.yaml"))
    with caplog.at_level(logging.INFO, logger="wdstream"), lanes_from_config(config).loader() as stream:
        streamed = list(takewhile(lambda batch: any(batch["keys"]), stream))
    assert "4 rows are read as image=scan.png, text=json.page.caption" in caplog.text
    assert "not used, kept as metadata: page (4), txt (4), url (4)" in caplog.text
    sizes: dict[str, Any] = {"sequence_length": 256, "max_patches": 4096, "global_batch_size": 1}
    plan = Plan(Shards.open(tars), load_family(tiny_model), TilingPolicy(kind="none"), epochs=1, **sizes)
    with plan.loader() as loader:
        planned = list(islice(loader, plan.total_steps()))
    tokens = [sorted(t for b in batches for t in b["input_ids"][0].tolist()) for batches in (streamed, planned)]
    assert tokens[0] == tokens[1]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # webdataset leaves its file open
def test_shards_and_nodes_by_a_map(tars: Path, tmp_path: Path) -> None:
    options = MakeShardsOptions(workers=1, map=(MAP,))
    report = make_shards(tars, tmp_path / "out", options=options)
    assert (report.num_pages, report.num_quarantined) == (4, 0)
    shards = Shards.open(tmp_path / "out")
    assert texts(map(shards.read_page, range(4))) == TEXTS
    samples = list(webdataset.WebDataset(str(tars / "a.tar"), shardshuffle=False))
    decoded = list(webdataset.WebDataset(str(tars / "a.tar"), shardshuffle=False).decode("pil"))
    for found in (samples, decoded):
        pages = [as_page(sample, map={"image": "scan.png", "text": "json:page.caption"}) for sample in found]
        assert texts(pages) == TEXTS
    assert isinstance(as_page(samples[0], map=MAP), Page)
    assert texts(Decode(tn.IterableWrapper(samples), map=MAP)) == TEXTS
    with pytest.raises(ConfigError, match="expected ROLE=PATH"):
        as_page(samples[0], map="scan.png")
