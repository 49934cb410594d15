"""Training from plain webdataset tars without an index: the same bytes on any world, after any kill, to the end.

Spans: train, pipeline, runs.
"""

import http.server
import io
import json
import signal
import threading
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import webdataset
from rich.console import Console

from tests.helpers.processes import finish, run_world, start_world
from tests.helpers.training import TRAIN, Workplace, wait_for_steps
from wdstream.commands.plan import plan_command
from wdstream.errors import ConfigError, PlanError
from wdstream.plan.deal import pages_digest
from wdstream.runs.trace import trace
from wdstream.storage.json_lines import read_lines
from wdstream.testing import make_pages

SHARDS, PAGES = 5, 24
ADAPTER = "train.adapter={kind: lora, r: 4, dropout: 0.2}"
STREAM = (
    "data.streaming={lanes: 2, shuffle_buffer: 4}",
    "data.pool=8",
    "data.eval=[]",
    "train.record_bytes=true",
    ADAPTER,
    "train.lr=0.01",
    "train.checkpoint_every=4",
)


def write_tars(folder: Path, pages: dict[str, tuple[bytes, str]], shards: int) -> Path:
    """Pages by key as webdataset writes them: every `shards`-th one in a tar."""
    folder.mkdir()
    for shard in range(shards):
        with webdataset.TarWriter(str(folder / f"{shard:02}.tar")) as writer:
            for number, key in enumerate(sorted(pages)[shard::shards]):
                image, text = pages[key]
                writer.write({"__key__": f"{number:06}", "jpg": image, "txt": text})  # counted again in every tar
    return folder


def names_of(pages: dict[str, tuple[bytes, str]], shards: int) -> dict[str, str]:
    """What `write_tars` called each page: shard and key."""
    return {key: f"{number % shards:02}.tar/{number // shards:06}" for number, key in enumerate(sorted(pages))}


@pytest.fixture(scope="module")
def pages(workplace: Workplace) -> dict[str, tuple[bytes, str]]:
    raw = make_pages(workplace.root / "raw-foreign", num_pages=PAGES, seed=5)
    return {path.stem: (path.read_bytes(), path.with_suffix(".txt").read_text()) for path in raw.glob("*.jpg")}


@pytest.fixture(scope="module")
def tars(workplace: Workplace, pages: dict[str, tuple[bytes, str]]) -> Path:
    return write_tars(workplace.root / "foreign", pages, SHARDS)


def settings(path: object, *more: str) -> tuple[str, ...]:
    return (f"data.train=[{{path: '{path}'}}]", *STREAM, *more)


def arguments(workplace: Workplace, output: Path, *chosen: str) -> list[str]:
    return [str(workplace.config_file), *(w for s in (f"train.output={output}", *chosen) for w in ("--set", s))]


def ledger(output: Path) -> list[tuple[int, str, str]]:
    return [(line["step"], line["digest"], line["sha256"]) for line in read_lines(output / "steps.jsonl")]


def listed(output: Path) -> list[dict[str, Any]]:
    return list(read_lines(output / "pages.jsonl"))


@pytest.fixture(scope="module")
def straight(workplace: Workplace, tars: Path) -> Path:
    """Ten steps on one process, without interruption."""
    output = workplace.root / "lanes-straight"
    assert workplace.train(output, *settings(tars)) == 0
    return output


def test_killed_on_two_processes_and_resumed_on_one_and_two(workplace: Workplace, tars: Path, straight: Path) -> None:
    output = workplace.root / "lanes-killed"
    ranks = start_world(TRAIN, arguments(workplace, output, *settings(tars)), size=2)
    wait_for_steps(output, 6)
    for rank in ranks:
        rank.send(signal.SIGKILL)
    assert {status for status, _ in finish(ranks)} == {-signal.SIGKILL}
    first = (output / "checkpoints" / "step-00000004" / "stream.json").read_bytes()
    assert first == (straight / "checkpoints" / "step-00000004" / "stream.json").read_bytes()
    assert len(json.dumps(json.loads(first))) < 2048
    assert workplace.train(output, *settings(tars), "train.stop_after=3") == 0
    run_world(TRAIN, arguments(workplace, output, *settings(tars)), size=2)
    assert [step for step, _, _ in ledger(output)] == list(range(10))
    assert ledger(output) == ledger(straight)
    assert listed(output) == listed(straight)
    losses = [[line["loss"] for line in read_lines(folder / "metrics.jsonl")] for folder in (output, straight)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    assert json.loads((output / "run.json").read_text())["starts"] == [
        {"step": 0, "world_size": 2},
        {"step": 4, "world_size": 1},
        {"step": 7, "world_size": 2},
    ]


def test_the_list_of_pages_is_what_was_trained(straight: Path) -> None:
    for line, (step, digest, _) in zip(listed(straight), ledger(straight), strict=True):
        assert line["step"] == step
        assert pages_digest((int(number), keys) for number, keys in line["packs"].items()) == digest
    found = trace(straight, step=3)
    assert [(page.pack, page.key) for page in found.pages] == [
        (int(number), key) for number, keys in listed(straight)[3]["packs"].items() for key in keys
    ]
    file = io.StringIO()
    found.print(Console(file=file, width=100))
    assert found.pages[0].key in file.getvalue()
    with pytest.raises(PlanError, match="step 10: the run ends before it"):
        trace(straight, step=10)
    with pytest.raises(PlanError, match="rank 1: step 0 was trained on 1 ranks"):
        trace(straight, step=0, rank=1)


def test_two_processes_end_together_when_the_data_do(
    workplace: Workplace, tars: Path, pages: dict[str, tuple[bytes, str]]
) -> None:
    """Five shards in two lanes: one lane is through before the other."""
    output = workplace.root / "lanes-ended"
    chosen = settings(tars, "data.epochs=1", "train.max_steps=1000")
    run_world(TRAIN, arguments(workplace, output, *chosen), size=2)
    counts = Counter(key for line in listed(output) for keys in line["packs"].values() for key in keys)
    assert counts == dict.fromkeys(names_of(pages, SHARDS).values(), 1)
    steps = len(ledger(output))
    assert steps == 15
    assert (output / "final" / "adapter_model.safetensors").exists()
    assert [line["step"] for line in read_lines(output / "states.jsonl")][-1] == steps - 1
    before = (output / "steps.jsonl").read_bytes(), (output / "states.jsonl").read_bytes()
    assert workplace.train(output, *chosen) == 0  # on another world: there is nothing left to train
    assert ((output / "steps.jsonl").read_bytes(), (output / "states.jsonl").read_bytes()) == before


@pytest.fixture
def server(tars: Path) -> Iterator[str]:
    """Serves the tars; http.server knows no Range."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tars))) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()
        thread.join()


@pytest.mark.parametrize("kind", ["http", "pipe"])
def test_web_servers_without_ranges_and_pipes(
    workplace: Workplace, tars: Path, straight: Path, server: str, kind: str
) -> None:
    """Stopped and resumed in the middle of the tars; the bytes are those of the files on disk."""
    path = server + "/{00..04}.tar" if kind == "http" else f"pipe:cat {tars}/{{00..04}}.tar"
    output = workplace.root / f"lanes-{kind}"
    chosen = settings(path, "data.streaming.allow_pipes=true")
    assert workplace.train(output, *chosen, "train.stop_after=3") == 0
    assert workplace.train(output, *chosen, "train.stop_after=2") == 0
    assert [sha256 for _, _, sha256 in ledger(output)] == [sha256 for _, _, sha256 in ledger(straight)[:5]]


def test_commands_run_only_when_they_are_allowed(
    workplace: Workplace, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert workplace.train(tmp_path / "run", *settings(f"pipe:touch {tmp_path}/done")) == 2
    assert "allow it with --set data.streaming.allow_pipes=true" in capfd.readouterr().err
    assert not (tmp_path / "done").exists()


def test_bad_pages_are_quarantined_and_long_ones_listed(
    workplace: Workplace, pages: dict[str, tuple[bytes, str]], capfd: pytest.CaptureFixture[str]
) -> None:
    names = sorted(pages)
    cut, none, long = names[3], names[9], names[14]
    image, text = pages[cut]
    changed = {cut: (image[: len(image) // 2], text), none: (b"no image", text), long: (image, 500 * text)}
    tars = write_tars(workplace.root / "foreign-bad", {**pages, **changed}, 4)
    output = workplace.root / "lanes-bad"
    chosen = settings(tars, "data.max_bad_fraction=0.5", "data.epochs=1", "train.max_steps=50")
    assert workplace.train(output, *chosen, "train.stop_after=4") == 0
    assert workplace.train(output, *chosen) == 0
    quarantine = {line["key"]: line["reason"] for line in read_lines(output / "quarantine.jsonl")}
    called = names_of(pages, 4)
    cut, none, long = called[cut], called[none], called[long]
    assert set(quarantine) == {cut, none}
    assert "cannot be decoded" in quarantine[cut]
    (reject,) = read_lines(output / "rejects.jsonl")
    assert reject["key"] == long
    assert "a pack takes at most 1024 and 2048" in reject["reason"]
    trained = Counter(key for line in listed(output) for keys in line["packs"].values() for key in keys)
    assert trained == Counter(called.values()) - Counter([none, long])  # the cut page kept its slot
    whole = workplace.root / "lanes-bad-whole"
    assert workplace.train(whole, *chosen) == 0
    assert ledger(whole) == ledger(output)
    assert (whole / "quarantine.jsonl").read_bytes() == (output / "quarantine.jsonl").read_bytes()
    capfd.readouterr()
    assert workplace.train(workplace.root / "lanes-bad-stopped", *chosen, "data.max_bad_fraction=0.0") == 1
    assert "pages failed, more than data.max_bad_fraction 0.0" in capfd.readouterr().err


def test_long_pages_are_downscaled_when_asked(workplace: Workplace, tars: Path) -> None:
    output = workplace.root / "lanes-downscaled"
    small = ("data.max_patches=120", "tiling.kind=none", "train.max_steps=1")
    assert workplace.train(output, *settings(tars, *small, "data.overlength=downscale")) == 0
    assert list(read_lines(output / "rejects.jsonl")) == []
    (line,) = read_lines(output / "steps.jsonl")
    assert line["pages"] >= 2


@pytest.mark.parametrize(
    ("more", "status", "message"),
    [
        (("train.max_steps=null",), 2, "train.max_steps: needed with data.streaming"),
        (("data.where=tokens < 5",), 2, "so it has no where: leave that out, or make an index"),
        (("data.tail=pad", "data.deal=phase"), 2, "so it has no tail, deal: leave that out"),
        (("data.train=[{path: /nowhere.tar}]",), 1, "/nowhere.tar: no such file; give a folder of tars"),
        (("data.streaming.lanes=6",), 1, "5 shards for 6 lanes; use at most as many lanes as shards"),
    ],
)
def test_refusals(
    workplace: Workplace,
    tars: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    more: tuple[str, ...],
    status: int,
    message: str,
) -> None:
    assert workplace.train(tmp_path, *settings(tars), *more) == status
    assert message in capfd.readouterr().err


def test_another_stream_is_refused_and_the_difference_named(
    workplace: Workplace, tars: Path, straight: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert workplace.train(straight, *settings(tars), "data.seed=1") == 1
    assert "order: seed, lanes or shuffle_buffer differs" in capfd.readouterr().err
    assert workplace.train(straight, *settings(f"{tars}/{{00..03}}.tar")) == 1
    assert "the list of shards differs" in capfd.readouterr().err


def test_a_plan_does_not_continue_from_lanes_nor_the_other_way(
    workplace: Workplace, straight: Path, tars: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    planned = workplace.root / "lanes-planned"
    assert workplace.train(planned, "data.eval=[]", "train.stop_after=1") == 0
    capfd.readouterr()
    assert workplace.train(planned, f"data.train=[{{path: {tars}}}]", "data.streaming={lanes: 2}", "data.eval=[]") == 1
    assert "the saved state is a plan's, of shards with an index" in capfd.readouterr().err
    assert workplace.train(straight, "data.eval=[]", ADAPTER) == 1
    assert "the saved state is of tars without an index (data.streaming)" in capfd.readouterr().err


def test_commands_that_need_a_plan_say_so(workplace: Workplace, tars: Path) -> None:
    with pytest.raises(ConfigError, match=r"tars without an index have no plan.*wdstream trace RUN --step N"):
        plan_command(workplace.config_file, list(settings(tars)))
