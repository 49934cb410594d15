"""The command: help that answers at once, statuses, and errors as one sentence."""

import inspect
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import get_args, get_origin

import pytest

from tests.helpers.command import run
from tests.helpers.paths import PAGES, ROOT
from wdstream.commands.app import app
from wdstream.commands.options import field_helps
from wdstream.errors import memory_trouble
from wdstream.make_shards.options import MakeShardsOptions
from wdstream.testing import make_pages

COMMANDS = (
    "make-shards",
    "index",
    "lengths",
    "plan",
    "digest",
    "show",
    "trace",
    "where",
    "audit",
    "evaluate",
    "chat",
    "launch",
    "run",
    "make-tiny-model",
    "doctor",
    "cache",
    "demo",
)


def test_a_program_of_its_own_ends_with_the_status_too(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "wdstream", "plan", "none.yaml"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 2
    assert "cannot read the configuration" in done.stderr
    assert "Traceback" not in done.stderr


def test_help_lists_every_command_without_torch() -> None:
    code = (
        "import sys; sys.argv = ['wdstream', '--help']\nimport wdstream.commands.app as c\n"
        "try: c.main()\nexcept SystemExit: pass\nprint('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.rstrip().endswith("False")
    for name in COMMANDS:
        assert name in done.stdout


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself(name: str) -> None:
    from typer.testing import CliRunner

    done = CliRunner().invoke(app, [name, "--help"])
    assert done.exit_code == 0
    assert "Usage:" in done.stdout


def test_help_shows_names_whole_on_a_narrow_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    done = run("make-shards", "--help")
    shown = done.stdout.split()
    for name, field in MakeShardsOptions.model_fields.items():
        flag = f"--{name.replace('_', '-')}"
        assert (flag.removesuffix("s") if get_origin(field.annotation) is tuple else flag) in shown, name
    headings = [line for line in done.stdout.splitlines() if line.endswith(":") and not line.startswith(" ")]
    assert headings == [
        "Arguments:",
        "Options:",
        "What is counted and held out:",
        "Shards:",
        "The job, and what it does again:",
        "PDF pages:",
        "OCR and language:",
        "Texts next to pages:",
        "Rows, tables and samples of tars:",
        "Limits and checks:",
        "Several machines:",
    ]
    assert max(map(len, done.stdout.splitlines())) <= 60


@pytest.mark.parametrize(
    ("arguments", "status", "expected"),
    [
        (("make-shards", "no-such-folder"), 2, "no-such-folder"),
        (("plan", "none.yaml"), 2, "cannot read the configuration"),
        (("digest", "none.yaml", "--steps", "3"), 2, "cannot read the configuration"),
        (("make-tiny-model", "out", "--family", "qwen9"), 1, "qwen2_5_vl"),
        (("audit", "no-such-run"), 1, "no-such-run: not the folder of a training run: there is no such folder"),
        (("cache", "info", "no-such-cache"), 2, "no tile cache there"),
        (("cache", "prune", "no-such-cache"), 2, "no tile cache there"),
        (("frobnicate",), 2, "No such command"),
        (("train", "cfg.yaml"), 2, "training is `wdstream launch CFG`"),
        (("launch", "cfg.yaml", "--num_processes", "2"), 2, "the configuration file comes last"),
    ],
)
def test_errors_are_sentences(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], status: int, expected: str
) -> None:
    monkeypatch.chdir(tmp_path)
    done = run(*arguments)
    assert done.returncode == status
    assert expected in done.stderr
    assert "Traceback" not in done.stderr


def test_paths_are_printed_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_bytes(bytes(1024))
    folder = tmp_path.rename(tmp_path.with_name("b[red]c:100:d"))
    done = run("index", folder)
    assert done.returncode == 1
    assert "b[red]c:100:d: no sample of these tars can be used" in done.stderr


def test_from_raw_pages_to_a_plan(tmp_path: Path) -> None:
    raw, shards, model = tmp_path / "raw", tmp_path / "shards", tmp_path / "tiny"
    raw.mkdir()
    for name in ("tables-tables-en.pdf", "slides-packaging-tutorial-en.pdf"):
        (raw / name).write_bytes((PAGES / "pdf" / name).read_bytes())
    (raw / "broken.pdf").write_bytes(b"%PDF-1.4 nothing")
    assert run("make-tiny-model", model, "--vocab-size", "2048").returncode == 0
    made = run("make-shards", raw, shards, "--tokenizer", model, "--strict", "--workers", "1")
    assert made.returncode == 1, "one file is quarantined"
    assert json.loads((shards / "quarantine.jsonl").read_text())["file"] == "broken.pdf"
    assert run("make-shards", raw, shards, "--tokenizer", model, "--workers", "1").returncode == 0
    config = tmp_path / "cfg.yaml"
    config.write_text(f"model: {{path: {model}}}\ndata: {{train: [{{path: {shards}}}], global_batch_size: 1}}\n")
    planned = run("plan", config, "--json")
    assert planned.returncode == 0, planned.stderr
    summary = json.loads(planned.stdout)
    assert (summary["samples"], summary["pages"], summary["packs"]) == (2, 2, 1)
    assert "tables-tables-en" in run("where", config, "tables-tables-en@0001", "--max-steps", "2").stdout


def test_nothing_to_train_on_is_an_error_with_the_reasons(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    raw.mkdir()
    (raw / "scan.jpg").write_bytes((PAGES / "scans" / "leptonlib-cat.007.jpg").read_bytes())
    (raw / "broken.pdf").write_bytes(b"%PDF-1.4 nothing")
    done = run("make-shards", raw, tmp_path / "shards", "--workers", "1")
    assert done.returncode == 1
    assert "no page can be trained on: all 2 pages and files are quarantined (1 of no text; 1 of not a" in done.stderr
    assert f"{tmp_path / 'shards/quarantine.jsonl'} has each with its reason" in done.stderr


def test_a_file_in_the_way_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    for out in (tmp_path / "file", tmp_path / "file" / "below"):
        done = run("make-tiny-model", out)
        assert done.returncode == 1
        assert done.stderr.startswith(f"wdstream: {tmp_path / 'file'}")
        assert len(done.stderr.splitlines()) == 1


def test_a_tokenizer_that_is_none_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("# no JSON")
    done = run("make-tiny-model", tmp_path / "model", "--tokenizer", tmp_path / "README.md")
    assert done.returncode == 1
    assert done.stderr.startswith(f"wdstream: {tmp_path / 'README.md'}: not a tokenizer.json: ")
    assert not (tmp_path / "model").exists()


def test_make_shards_has_an_option_for_every_setting_with_its_help() -> None:
    command = next(found for found in app.registered_commands if found.name == "make-shards").callback
    assert command is not None
    parameters, helps = inspect.signature(command).parameters, field_helps(MakeShardsOptions)
    for name, field in MakeShardsOptions.model_fields.items():
        flag = f"--{name.replace('_', '-')}"
        flag = flag.removesuffix("s") if get_origin(field.annotation) is tuple else flag  # repeated
        declared = get_args(parameters[name].annotation)[1].default
        assert declared in (flag, f"{flag}/--no-{flag[2:]}")
        assert parameters[name].default == field.default
        assert len(helps[name]) > 20, name
    shown = " ".join(run("make-shards", "--help").stdout.split())
    for piece in ("--time-limit", "--memory-limit-mb", "--max-pixels", "Pages per"):
        assert piece in shown


def test_an_option_out_of_range_names_its_limits(tmp_path: Path) -> None:
    done = run("make-shards", tmp_path, tmp_path / "out", "--time-limit", "0")
    assert done.returncode == 2
    assert done.stderr == "wdstream: --time-limit: expected greater than or equal to 0.1, found 0.0\n"


@pytest.mark.parametrize(
    ("option", "value", "expected"),
    [
        ("--pages-per-shard", "0", "--pages-per-shard: expected greater than or equal to 1, found 0"),
        ("--dpi", "100000", "--dpi: expected less than or equal to 2400, found 100000"),
    ],
)
def test_an_option_out_of_range_is_called_as_it_was_given(
    tmp_path: Path, option: str, value: str, expected: str
) -> None:
    done = run("make-shards", tmp_path, tmp_path / "out", option, value)
    assert (done.returncode, done.stderr) == (2, f"wdstream: {expected}\n")


@pytest.mark.parametrize("again", [["--part", "2/3"], ["--part=3/3"]])
def test_an_option_of_one_value_is_there_once(again: list[str], tmp_path: Path) -> None:
    """The last one counted, and the others were passed over."""
    made = run("make-shards", tmp_path, tmp_path / "out", "--part", "3/3", *again)
    assert made.returncode == 2
    assert "--part is there 2 times: give it once" in made.stderr
    many = run(
        "make-shards", tmp_path / "no", "out", *("--metadata-field", "a", "--metadata-field", "b", *2 * ["--overwrite"])
    )
    assert many.stderr.startswith(f"wdstream: {tmp_path}/no")


NARROW = """
import resource, sys
from pathlib import Path
import wdstream.make_shards.job
from wdstream.commands.app import main
size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (size + (4 << 20), size + (4 << 20)))  # a thread takes 8 MB of addresses
main()
"""


def test_a_process_that_gets_no_more_memory_says_so_in_one_line(tmp_path: Path) -> None:
    raw = make_pages(tmp_path / "raw", num_pages=1)
    command = [sys.executable, "-c", NARROW, "make-shards", str(raw), str(tmp_path / "out")]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    assert done.returncode == 1
    assert re.fullmatch(
        r"wdstream: no more memory or threads are to be had \(.+\); free memory, raise the limits \(ulimit -u, -v\), "
        r"or use fewer workers\n",
        done.stderr,
    )


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (MemoryError(), "MemoryError"),
        (MemoryError("Unable to allocate 7.28 TiB"), "Unable to allocate 7.28 TiB"),
        (ImportError("libXau.so.6: failed to map segment from shared object"), "libXau.so.6: failed to map segment "),
        (RuntimeError("can't start new thread"), "can't start new thread"),
    ],
)
def test_errors_of_libraries_that_mean_memory(error: Exception, said: str) -> None:
    assert memory_trouble(error).startswith(f"no more memory or threads are to be had ({said}")


@pytest.mark.parametrize(
    "error", [ImportError("No module named 'x'"), RuntimeError("x"), OSError(2, "No such file"), ValueError("memory")]
)
def test_errors_of_another_kind(error: Exception) -> None:
    assert memory_trouble(error) == ""
