"""Our shards in the libraries of others, where they are installed: every sample, byte by byte.

megatron-energon and Ray Data bring much along and are not of our own environment: they run in the Python that
WDSTREAM_INTEROP_PYTHON names (`python -m venv interop; interop/bin/pip install torch megatron-energon ray webdataset`).
"""

import hashlib
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import webdataset

from tests.helpers.mixed_shards import write_mixed
from wdstream.curation.export.energon import export_energon
from wdstream.curation.resharding.reshard import reshard
from wdstream.curation.resharding.reshard_options import ReshardOptions
from wdstream.shards.reader import Shards

PYTHON = os.environ.get("WDSTREAM_INTEROP_PYTHON", "")
needs_libraries = pytest.mark.skipif(
    not PYTHON, reason="needs energon and Ray: WDSTREAM_INTEROP_PYTHON names a Python that has them"
)

DIGEST = """
import hashlib, json, sys
def digest(parts):
    found = hashlib.sha256()
    for name in sorted(parts):
        found.update(f"{name} {len(parts[name])} ".encode() + parts[name])
    return found.hexdigest()
"""
ENERGON = """
folder = sys.argv[1]
sys.path.insert(0, folder + "/.nv-meta")
from wdstream_cooker import PageSample, cook
from megatron.energon import Cooker, DefaultTaskEncoder, WorkerConfig, basic_sample_keys, edataclass, get_loader
from megatron.energon import Sample, get_train_dataset, stateless

@edataclass
class Raw(Sample):
    parts: dict

@stateless
def keep(sample):
    names = [name for name in sample if not name.startswith("_")]
    return Raw(**basic_sample_keys(sample), parts={name: sample[name] for name in names})

class AsTheyAre(DefaultTaskEncoder):
    cookers = [Cooker(keep)]

class Cooked(DefaultTaskEncoder):
    cookers = [Cooker(cook)]

def samples(encoder):
    worker = WorkerConfig(rank=0, world_size=1, num_workers=0)
    options = dict(batch_size=None, shuffle_buffer_size=None, max_samples_per_sequence=None, repeat=False)
    return list(get_loader(get_train_dataset(folder, task_encoder=encoder, worker_config=worker, **options)))

raw = {sample.__key__: digest(sample.parts) for sample in samples(AsTheyAre())}
cooked = {page.__key__: [len(page.images), page.content, page.messages, page.metadata] for page in samples(Cooked())}
print(json.dumps({"raw": raw, "cooked": cooked}))
"""
RAY = """
import logging, ray
ray.init(num_cpus=1, include_dashboard=False, logging_level=logging.ERROR)
import glob
rows = ray.data.read_webdataset(sorted(glob.glob(sys.argv[1] + "/*.tar")), decoder=None)
found = {}
for row in rows.iter_rows():
    parts = {name: data for name, data in row.items() if isinstance(data, bytes)}
    found[row["__key__"]] = digest(parts)
print(json.dumps({"raw": found}))
"""


def digests(folder: Path) -> dict[str, str]:
    """Of the members of every sample, as our own reader has them."""
    shards = Shards.open(folder)
    found = {}
    for row in range(len(shards)):
        key, members = shards.read(row)
        digest = hashlib.sha256()
        for name in sorted(members):
            digest.update(f"{name} {len(members[name])} ".encode() + members[name])
        found[key] = digest.hexdigest()
    return found


def run(program: str, folder: Path) -> dict[str, dict[str, Any]]:
    done = subprocess.run([PYTHON, "-c", DIGEST + program, str(folder)], capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, dict[str, Any]] = json.loads(done.stdout.splitlines()[-1])
    return found


def uniform(tmp_path: Path) -> Path:
    write_mixed(tmp_path / "in", count=48)
    reshard(
        [tmp_path / "in"], tmp_path / "out", options=ReshardOptions(pages=20, uniform=True, shuffle=True, workers=1)
    )
    return tmp_path / "out"


@pytest.mark.filterwarnings("ignore")
def test_webdataset_reads_every_sample(tmp_path: Path) -> None:
    folder = uniform(tmp_path)
    tars = sorted(map(str, folder.glob("*.tar")))
    found = {}
    for sample in webdataset.WebDataset(tars, shardshuffle=False, empty_check=False):
        digest = hashlib.sha256()
        for name in sorted(name for name in sample if not name.startswith("__")):
            digest.update(f"{name} {len(sample[name])} ".encode() + sample[name])
        found[sample["__key__"]] = digest.hexdigest()
    assert found == digests(folder)
    assert len(found) == 48


@needs_libraries
@pytest.mark.slow
def test_energon_reads_every_sample(tmp_path: Path) -> None:
    folder = uniform(tmp_path)
    export_energon(folder, workers=1)
    found = run(ENERGON, folder)
    assert found["raw"] == digests(folder)
    assert len(found["cooked"]) == 48
    shards = Shards.open(folder)
    for key, cooked in found["cooked"].items():
        num_images, content, messages, metadata = cooked
        row = shards.find(key)
        assert row is not None
        page = shards.read_page(row)
        assert (num_images, metadata) == (len(page.images), page.meta)
        assert (content is None) != (messages is None)


@needs_libraries
@pytest.mark.slow
def test_ray_data_reads_every_sample(tmp_path: Path) -> None:
    folder = uniform(tmp_path)
    assert run(RAY, folder)["raw"] == digests(folder)
