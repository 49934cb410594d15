"""What is costly to make and never written to again: made once in a test run, whatever its workers are.

Nothing here imports torch before a model is made.
"""

import fcntl
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.helpers.published import SPLITTING, change, copy_settings
from wdstream.families.base import Family
from wdstream.families.registry import load_family


class SharedFolders:
    """Folders by name, below the run's own temporary folder; every worker process finds those of the others."""

    def __init__(self, tmp_path_factory: pytest.TempPathFactory) -> None:
        own = tmp_path_factory.getbasetemp()
        is_worker = "PYTEST_XDIST_WORKER" in os.environ  # then `own` is one of several next to each other
        self._root = (own.parent if is_worker else own) / "shared"
        self._root.mkdir(exist_ok=True)

    def get(self, name: str, make: Callable[[Path], object]) -> Path:
        """The folder `name`; `make` fills it, once: others wait for it."""
        folder, ready = self._root / name, self._root / f"{name}.ready"
        with (self._root / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not ready.exists():
                shutil.rmtree(folder, ignore_errors=True)  # half of it, of a test that failed in between
                make(folder)
                ready.touch()
        return folder


def write_small_tokenizer(folder: Path) -> None:
    """The first 4,096 tokens of the tokenizer that tiny models are cut from: cut from here, they are the same models,
    without reading its 128,000 tokens for each."""
    from wdstream.testing.tiny.tokenizer import build_tokenizer

    folder.mkdir()
    tree = build_tokenizer(None, vocab_size=4096, added=())
    (folder / "tokenizer.json").write_text(json.dumps(tree), encoding="utf-8")


class TinyModels(dict[str, Path]):
    """Family name -> directory of its tiny model; made at the first look-up."""

    def __init__(self, shared: SharedFolders, vocab_size: int) -> None:
        super().__init__()
        self._shared, self._vocab_size = shared, vocab_size
        self._tokenizer = shared.get("tokenizer", write_small_tokenizer)

    def __missing__(self, name: str) -> Path:
        def make(folder: Path) -> None:
            from wdstream.testing import make_tiny_model  # and torch with it, which many tests do without

            make_tiny_model(folder, family=name, tokenizer=self._tokenizer, vocab_size=self._vocab_size)

        self[name] = self._shared.get(f"{name}-{self._vocab_size}", make)
        return self[name]


class TinyFamilies(dict[str, Family]):
    """Family name -> the family over its tiny model; loaded at the first look-up."""

    def __init__(self, models: dict[str, Path]) -> None:
        super().__init__()
        self._models = models

    def __missing__(self, name: str) -> Family:
        self[name] = load_family(self._models[name])
        return self[name]


class WholeFamilies(dict[str, Family]):
    """Those of `SPLITTING` for images that are left whole; their checkpoints have no weights of their own."""

    def __init__(self, folder: Path, families: dict[str, Family]) -> None:
        super().__init__()
        self._folder, self._families = folder, families

    def __missing__(self, name: str) -> Family:
        path = copy_settings(self._families[name].model_dir, self._folder / name)
        change(path / "preprocessor_config.json", **SPLITTING[name])
        self[name] = load_family(path).for_whole_images()
        return self[name]
