"""Folders that are costly to make and never written to again: made once in a test run, whatever its workers are."""

import fcntl
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from wdstream.testing import make_tiny_model


class SharedFolders:
    """Folders by name, below the run's own temporary folder; every worker process finds those of the others."""

    def __init__(self, tmp_path_factory: pytest.TempPathFactory) -> None:
        own = tmp_path_factory.getbasetemp()
        is_worker = "PYTEST_XDIST_WORKER" in os.environ  # then `own` is one of several beside each other
        self._root = (own.parent if is_worker else own) / "shared"
        self._root.mkdir(exist_ok=True)

    def get(self, name: str, make: Callable[[Path], object]) -> Path:
        """The folder `name`; `make` fills it, once: others wait for it."""
        folder, ready = self._root / name, self._root / f"{name}.ready"
        with (self._root / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not ready.exists():
                make(folder)
                ready.touch()
        return folder


class TinyModels(dict[str, Path]):
    """Family name -> directory of its tiny checkpoint; made at the first look-up."""

    def __init__(self, shared: SharedFolders, vocab_size: int) -> None:
        super().__init__()
        self._shared, self._vocab_size = shared, vocab_size

    def __missing__(self, name: str) -> Path:
        def make(folder: Path) -> None:
            make_tiny_model(folder, family=name, vocab_size=self._vocab_size)

        self[name] = self._shared.get(f"{name}-{self._vocab_size}", make)
        return self[name]
