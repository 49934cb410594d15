"""The `wdstream` command, run in this process: a start of Python costs more than most commands."""

import contextlib
import io
import subprocess
import sys
from pathlib import Path

import pytest

from wdstream.commands.app import main


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """What `wdstream` does: its status, and what it prints."""
    command, printed, errors = ["wdstream", *map(str, arguments)], io.StringIO(), io.StringIO()
    with (
        pytest.MonkeyPatch.context() as patch,
        contextlib.redirect_stdout(printed),
        contextlib.redirect_stderr(errors),
        pytest.raises(SystemExit) as ended,
    ):
        patch.setattr(sys, "argv", command)
        main()
    assert isinstance(ended.value.code, int)
    return subprocess.CompletedProcess(command, ended.value.code, printed.getvalue(), errors.getvalue())
