import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from wdstream.errors import ConfigError
from wdstream.make_shards.jobs import Job, PageCell, Quarantined, Skip
from wdstream.make_shards.options import MakeShardsOptions
from wdstream.make_shards.survey.shard_plan import ShardPlan
from wdstream.raw.source import RawFile


def file(name: str, num_pages: int, *, kind: str = "pdf", num_bytes: int = 1000) -> RawFile:
    return RawFile(path=name, kind=kind, stem=name, num_bytes=num_bytes, num_pages=num_pages)


def test_jobs_travel_as_json() -> None:
    rows = RawFile(path="r", kind="rows", stem="r", num_bytes=9, num_pages=2000, marks=(0, 500), reason=None)
    (job,) = ShardPlan([file("a", 3), rows], MakeShardsOptions(pages_per_shard=5000))
    skipped = Job(
        kind=job.kind,
        number=job.number,
        items=job.items,
        num_pages=job.num_pages,
        skips=(Skip(item=0, page=2, reason="x"), Skip(item=1, page=None, reason="y")),
    )
    assert Job.from_json(json.loads(json.dumps(skipped.to_json()))) == skipped


def test_the_quarantine_sorts_by_file_and_page() -> None:
    entries = [Quarantined(file="b", page=0, reason="x"), Quarantined(file="a", page=10, reason="y")]
    entries.append(Quarantined(file="a", page=9, reason="z"))
    assert [entry.to_json() for entry in sorted(entries)] == [
        {"file": "a", "page": 9, "reason": "z"},
        {"file": "a", "page": 10, "reason": "y"},
        {"file": "b", "page": None, "reason": "x"},
    ]


@pytest.mark.parametrize(
    ("setting", "value"), [("dpi", 0), ("jpeg_quality", 101), ("pages_per_shard", 0), ("workers", 0), ("time_limit", 0)]
)
def test_options_out_of_range(setting: str, value: int) -> None:
    with pytest.raises(ConfigError, match=f"^{setting}: expected .*, found {value}$"):
        MakeShardsOptions(**{setting: value})  # type: ignore[arg-type]


def test_options_travel_and_only_some_decide_the_bytes() -> None:
    options = MakeShardsOptions(dpi=100, tokenizer=Path("models/tiny"), workers=3, overwrite=True)
    assert MakeShardsOptions.of(json.loads(json.dumps(options.model_dump(mode="json")))) == options
    assert options.num_workers == 3
    assert MakeShardsOptions().num_workers >= 1
    assert options.content() == MakeShardsOptions(dpi=100).content()
    assert options.content() != MakeShardsOptions().content()
    with pytest.raises(ConfigError, match="placeholder: String should have at least 1 character, found ''"):
        MakeShardsOptions(placeholder="")
    with pytest.raises(ConfigError, match=r"paragraphs: .* give --tokenizer"):
        MakeShardsOptions(paragraphs=True)
    with pytest.raises(ConfigError, match="dpl: unknown key"):
        MakeShardsOptions(dpl=3)  # type: ignore[call-arg]


def test_a_process_imports_what_every_page_needs() -> None:
    """What only PDFs, chat templates or tokenizers need is imported with them: it would double the start."""
    program = "import sys, wdstream.make_shards.worker_main; print(*sys.modules)"
    printed = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    found = set(printed.split())
    assert {"wdstream.raw.pdf.source", "wdstream.make_shards.build"} <= found
    assert not found & {"torch", "regex", "wdstream.raw.pdf.document", "wdstream.families", "wdstream.make_shards.job"}


CELL_PROGRAM = """
import sys, time
from wdstream.make_shards.jobs import inherited_cell
cell = inherited_cell(sys.argv[1])
for page in range(1, 1001):
    cell.turn_to(3, page, is_page=True)
cell.turn_to(4, None, is_page=False)
cell.turn_to(4, 7, is_page=True)
cell.turn_to(4, 7, is_page=True)
print("there", flush=True)
time.sleep(600)
"""


def test_a_killed_process_leaves_where_it_was() -> None:
    cell = PageCell()
    assert (cell.at, cell.counts) == (None, (0, 0))
    command = [sys.executable, "-c", CELL_PROGRAM, str(cell.descriptor)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, pass_fds=[cell.descriptor]) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"there\n"
        os.kill(process.pid, signal.SIGKILL)
    assert (cell.at, cell.counts) == ((4, 7), (1003, 1001))  # a sign of life is not another page
    cell.clear()
    assert (cell.at, cell.counts) == (None, (1003, 1001))
    cell.close()


def test_places() -> None:
    cell = PageCell()
    for place in ((0, None), (0, 0), (0, 1), ((1 << 31) - 2, (1 << 32) - 2), (5, None)):
        cell.turn_to(*place, is_page=False)
        assert cell.at == place
    assert cell.counts == (5, 0)
    cell.close()


def test_pages_are_counted_once_in_each_job() -> None:
    cell = PageCell()
    for _ in range(2):
        cell.begin()
        cell.turn_to(0, 1, is_page=True)
        cell.turn_to(0, 1, is_page=True)
    assert cell.counts == (4, 2)
    cell.close()
