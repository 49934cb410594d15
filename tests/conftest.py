"""Shared by all tests: no model hub, no tokenizer threads; tiny models; shards of shipped and of small pages.

Session fixtures that are folders are made once in a run of several workers (`SharedFolders`): read them, copy them to
write. Hypothesis has no deadline here, since a loaded machine would break it.
"""

import gc
import os

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ.setdefault("OMP_NUM_THREADS", "1")  # tiny models run many times faster so

import random
import secrets
import shutil
import sys
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from tests.helpers.paths import PAGES
from tests.helpers.s3_server import S3Server, forget_connections, serving_s3
from tests.helpers.shared import SharedFolders, TinyFamilies, TinyModels, WholeFamilies
from wdstream.config.schema import Config
from wdstream.families.base import Family


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--without-torch", action="store_true", help="a test that imports torch fails (make quick)")


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--without-torch"):
        sys.modules["torch"] = None  # type: ignore[assignment]  # what Python itself takes for "cannot be imported"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes minutes takes many times as long on a loaded machine, and hangs no sooner than after hours."""
    for item in items:
        if item.get_closest_marker("slow") and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(7200))


def pytest_collection_finish() -> None:
    gc.collect()
    gc.freeze()  # torch and the collected tests stay to the end: no later collection need walk through them


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show what the S3 server wrote with a test that failed."""
    report = yield
    server = getattr(item, "funcargs", {}).get("s3_server")
    if report.failed and isinstance(server, S3Server):
        report.sections.append(("S3 server", server.said))
    return report


settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")

SHIPPED = (
    "pdf/diagram-*.pdf",
    "pdf/handbook-[ade]*",
    "pdf/tables-*.pdf",
    "images/tesseract-phototest*",
    "images/pillow-*",
    "rows/interleaved.jsonl",
    "rows/images/*",
)


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> SharedFolders:
    """Folders that all workers of this run share."""
    return SharedFolders(tmp_path_factory)


@pytest.fixture(scope="session")
def tiny_models(shared: SharedFolders) -> dict[str, Path]:
    """A tiny model of every family, 2,048 tokens; weights as they come from initialisation."""
    return TinyModels(shared, vocab_size=2048)


@pytest.fixture(scope="session")
def families(tiny_models: dict[str, Path]) -> dict[str, Family]:
    """Every family."""
    return TinyFamilies(tiny_models)


@pytest.fixture(scope="session")
def whole_families(tmp_path_factory: pytest.TempPathFactory, families: dict[str, Family]) -> dict[str, Family]:
    """Families whose processor splits images, for images that wdstream leaves whole."""
    return WholeFamilies(tmp_path_factory.mktemp("whole"), families)


@pytest.fixture(scope="session")
def tiny_model(shared: SharedFolders) -> Path:
    """A tiny Qwen2.5-VL with 1,024 tokens."""
    return TinyModels(shared, vocab_size=1024)["qwen2_5_vl"]


@pytest.fixture(scope="session")
def shipped_shards(shared: SharedFolders, tiny_model: Path) -> Path:
    """Shards of some of the shipped pages: PDFs, scans, interleaved rows; 8 pages per shard."""
    from wdstream.make_shards import MakeShardsOptions, make_shards

    def make(folder: Path) -> None:
        for pattern in SHIPPED:
            for path in PAGES.glob(pattern):
                target = folder / "raw" / path.relative_to(PAGES)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, target)
        options = MakeShardsOptions(tokenizer=tiny_model, dpi=40, pages_per_shard=8, workers=1)
        make_shards(folder / "raw", folder / "shards", options=options)

    return shared.get("shipped", make) / "shards"


@pytest.fixture(scope="session")
def small_shards(shared: SharedFolders, tiny_model: Path) -> Path:
    """Shards of 30 pages so small that a whole epoch takes a moment; 9 pages per shard."""
    from PIL import Image

    from wdstream.make_shards import MakeShardsOptions, make_shards

    def make(folder: Path) -> None:
        (folder / "raw").mkdir(parents=True)
        draw = random.Random(7)
        for number in range(30):
            size = draw.randint(20, 120), draw.randint(20, 120)
            path = folder / "raw" / f"page-{number:02}.png"
            Image.effect_noise(size, 80).convert("RGB").save(path)
            path.with_suffix(".txt").write_text("word " * draw.randint(1, 60))
        options = MakeShardsOptions(tokenizer=tiny_model, pages_per_shard=9, workers=1)
        make_shards(folder / "raw", folder / "shards", options=options)

    return shared.get("small", make) / "shards"


@pytest.fixture(scope="session")
def stream_config(tiny_model: Path) -> Callable[..., Config]:
    """A configuration over some shards; further keywords go into `data:`."""

    def make(*shards: Path, tiling: dict[str, Any] | None = None, micro_batch_size: int = 1, **data: Any) -> Config:
        settings = {"sequence_length": 1024, "max_patches": 2048, "global_batch_size": 4, "pool": 8, "epochs": 1}
        settings["train"] = [{"path": str(path)} for path in shards]  # type: ignore[assignment]
        return Config.model_validate(
            {
                "model": {"path": str(tiny_model)},
                "data": settings | data,
                "tiling": tiling or {"kind": "shape_buckets", "tile_size": 84, "overview_size": 56},
                "train": {"micro_batch_size": micro_batch_size},
            }
        )

    return make


@pytest.fixture(scope="session")
def damaged_shards(shared: SharedFolders, small_shards: Path) -> Path:
    """The small pages with a byte changed in the pictures of rows 4 and 17."""
    from wdstream.shards.reader import Shards

    def make(folder: Path) -> None:
        shutil.copytree(small_shards, folder / "shards")
        shards = Shards.open(folder / "shards")
        for row in (4, 17):
            with (folder / "shards" / shards.shard_names[int(shards.shard[row])]).open("r+b") as file:
                file.seek(int(shards.offset[row]) + 600)
                byte = file.read(1)[0]
                file.seek(-1, os.SEEK_CUR)
                file.write(bytes([byte ^ 0xFF]))

    return shared.get("damaged", make) / "shards"


@pytest.fixture(scope="session")
def run_folder(shared: SharedFolders, stream_config: Callable[..., Config], damaged_shards: Path) -> Path:
    """What a training run leaves: killed in step 3 on 2 ranks, continued from step 2 on 4 ranks to its end."""
    from tests.helpers.ledger import write_ledger

    def make(folder: Path) -> None:
        folder.mkdir()
        config = stream_config(damaged_shards, epochs=4, tail="drop")
        write_ledger(folder, config, [(2, 0, 4), (4, 2, 1000)], state_every=2)

    return shared.get("run", make)


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """An S3 server on loopback, for the whole run; `bucket` makes a bucket of it, and sets the environment."""
    with serving_s3(tmp_path_factory.mktemp("s3") / "output") as server:
        yield server


@pytest.fixture
def bucket(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The name of a new bucket; s3:// is the server of the tests for this process and those that it starts."""
    s3_server.use(monkeypatch)
    name = f"b-{secrets.token_hex(6)}"
    s3_server.call("create_bucket", Bucket=name)
    yield name
    forget_connections()
