"""A run's figures as small curves, of what it has written so far.

Spans: report, commands.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from typer.testing import CliRunner

from wdstream.commands.app import app
from wdstream.report.run_curves import FigureCurve, drawn, run_curves
from wdstream.storage.json_lines import write_lines


def test_a_curve_is_drawn_by_means() -> None:
    assert drawn(FigureCurve(name="x", steps=(0, 1, 2, 3), values=(0.0, 1.0, 2.0, 7.0))) == "▁▂▃█"
    assert drawn(FigureCurve(name="x", steps=(0, 1, 2, 3), values=(0.0, 2.0, 4.0, 4.0)), width=2) == "▁█"
    assert drawn(FigureCurve(name="x", steps=(5, 9), values=(1.0, 1.0))) == "▁   ▁"
    assert drawn(FigureCurve(name="x", steps=(5,), values=(3.0,))) == "▁"
    assert drawn(FigureCurve(name="x", steps=(0, 1, 2), values=(1.0, float("inf"), 2.0))) == "▁ █"
    assert drawn(FigureCurve(name="x", steps=(0,), values=(float("nan"),))) == " "


def test_a_run_is_shown(run_folder: Path, tmp_path: Path) -> None:
    output = tmp_path / "run"
    shutil.copytree(run_folder, output)
    lines = [{"step": step, "loss": 4.0 - step, "lr": 0.001, "loss/books": 2.0} for step in range(3)]
    write_lines(output / "metrics.jsonl", lines)
    write_lines(output / "eval.jsonl", [{"step": 2, "name": "held\x1b_out", "loss": 1.5, "tokens": 7.0}])
    found = run_curves(output)
    assert (found.starts, found.failed) == (2, 2)
    assert [curve.name for curve in found.curves] == ["loss", "lr", "loss/books", "eval held\x1b_out: loss"]
    run = CliRunner().invoke
    printed = run(app, ["run", "show", str(output)]).output
    assert f"{found.steps} steps in 2 starts, 2 pages failed" in printed
    assert "█▅▁" in printed and "\x1b" not in printed
    tree = json.loads(run(app, ["run", "show", str(output), "--json"]).output)
    assert tree["curves"]["loss"] == {"steps": [0, 1, 2], "values": [4.0, 3.0, 2.0]}
    (output / "metrics.jsonl").unlink()
    (output / "eval.jsonl").unlink()
    assert "no figures are written yet" in run(app, ["run", "show", str(output)]).output


def test_a_run_is_shown_where_the_output_takes_only_ascii(run_folder: Path, tmp_path: Path) -> None:
    output = tmp_path / "run"
    shutil.copytree(run_folder, output)
    write_lines(output / "metrics.jsonl", [{"step": step, "loss": 4.0 - step} for step in range(3)])
    command = [sys.executable, "-m", "wdstream", "run", "show", str(output)]
    ascii_only = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(command, check=True, capture_output=True, env=ascii_only)
    assert b"\\u2588\\u2585\\u2581" in done.stdout and not done.stderr
