"""Nothing is left on the CPU: every family trains, checks and writes on a second device as it does there.

The device is emulated (tests/helpers/emulated_device.py), so this holds placement alone, not the kernels of a real one.

Spans: train, families.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from wdstream.families.registry import FAMILIES

QUICK = ("gemma3", "lighton_ocr", "qwen2_5_vl")
SLOW = tuple(name for name in FAMILIES if name not in QUICK)


@pytest.mark.parametrize("names", [QUICK, pytest.param(SLOW, marks=pytest.mark.slow)], ids=["quick", "others"])
def test_a_run_on_another_device_is_the_same_run(names: tuple[str, ...], tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.workers.device", str(tmp_path), *names]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1200)
    assert done.returncode == 0, done.stderr[-3000:]
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert [each["family"] for each in found] == list(names)
    for each in found:
        here, there = each["cpu"], each["emulated"]
        assert there["losses"] == pytest.approx(here["losses"], rel=1e-6), each["family"]
        assert there["norms"] == pytest.approx(here["norms"], rel=1e-4), each["family"]
        assert there["losses"][1] < there["losses"][0], each["family"]
        assert there["written"] == here["written"], each["family"]
        assert there["is_checked"], each["family"]
        assert "and on the cpu, of shape" in each["complaint"], each["family"]
