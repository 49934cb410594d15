"""Nothing changed for a run: digests, shard bytes, states and losses are the lines that were recorded.

A line that differs means that users' runs would differ: bring the old bytes back, or raise the version that guards them
(of the plan, the state, the shards), say so to users, and record again with tests/golden/record.py.

Digests and shards are compared exactly, pixels included: they are made by integer arithmetic, or by code that gives the
same bytes on every x86-64 processor. That was tried, not assumed: the record came out the same under
ATEN_CPU_CAPABILITY=default and avx2 (torch's resize), JSIMD_FORCENONE=1 (libjpeg-turbo without vector code),
NPY_DISABLE_CPU_FEATURES (numpy), and GLIBC_TUNABLES that hide AVX2, FMA and AVX-512 from libm (pdfium's curves).
The PDFs carry their fonts. Other versions of torch, pypdfium2, pillow or simplejpeg than those of constraints.txt may
give other pixels.

Losses are sums of float32 in an order that each processor's kernels choose, and random weights pass through their
vectorised log and cos. Under the settings above they moved by up to 8e-8 of their value; 1e-5 leaves room for kernels
of other makers, and is still below what a change of the learning rate by one percent does to these six steps.

Spans: make_shards, plan, pipeline, train.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
EXPECTED = json.loads((HERE / "expected.json").read_text(encoding="utf-8"))
STATES = json.loads((HERE / "state.json").read_text(encoding="utf-8"))
LOSS_TOLERANCE = 1e-5


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What record.py finds today, by file name."""
    out = tmp_path_factory.mktemp("golden")
    done = subprocess.run(
        [sys.executable, str(HERE / "record.py"), "--out", str(out)],
        cwd=HERE.parents[1],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in out.iterdir()}


@pytest.mark.parametrize("name", EXPECTED["digest"])
def test_every_byte_of_the_steps(found: dict[str, Any], name: str) -> None:
    assert found["expected"]["digest"][name] == EXPECTED["digest"][name]


def test_every_byte_of_the_shards(found: dict[str, Any]) -> None:
    assert found["expected"]["shards"] == EXPECTED["shards"]


@pytest.mark.parametrize("name", EXPECTED["losses"])
def test_losses(found: dict[str, Any], name: str) -> None:
    assert found["expected"]["losses"][name] == pytest.approx(EXPECTED["losses"][name], rel=LOSS_TOLERANCE)


def test_states_are_written_as_they_were(found: dict[str, Any]) -> None:
    assert found["state"] == STATES


def test_a_state_of_before_is_accepted_and_continues(found: dict[str, Any]) -> None:
    step = STATES["planned"]["step"]
    expected = EXPECTED["digest"]["planned"][step : step + 2]
    assert len(expected) == 2
    assert found["resumed"] == [expected, expected]
