"""Where a section of the lap works, and on what."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

PACKAGES = ("torch", "transformers", "accelerate", "peft", "bitsandbytes", "flash-attn", "liger-kernel")


class Skipped(Exception):
    """A section, or a part of one, is left out; says why."""


@dataclass(frozen=True, slots=True)
class Place:
    """A section's folder; `is_dry`: on a CPU, with tiny sizes."""

    root: Path
    is_dry: bool

    @property
    def device(self) -> "torch.device":
        """What is measured.

        Raises:
            Skipped: there is no GPU, and a dry run was not asked for.
        """
        import torch

        if self.is_dry:
            return torch.device("cpu")
        if not torch.cuda.is_available():
            raise Skipped("torch finds no GPU here; --dry-run tries the lap on a CPU")
        return torch.device("cuda", 0)

    @property
    def gpu(self) -> "torch.device":
        """The GPU, for what a CPU has not.

        Raises:
            Skipped: there is none, or this is a dry run.
        """
        if self.is_dry:
            raise Skipped("needs a GPU")
        return self.device

    def machine(self) -> dict[str, Any]:
        """Names and versions."""
        import torch

        found: dict[str, Any] = {name: _version(name) for name in PACKAGES}
        if not self.is_dry and torch.cuda.is_available():
            found["gpu"] = torch.cuda.get_device_name(0)
            found["cuda"] = torch.version.cuda
        return found

    def save(self, found: Mapping[str, Any]) -> None:
        """What the section found, for the process that started it."""
        partial = self.root / "found.json.tmp"
        partial.write_text(json.dumps(found), encoding="utf-8")
        partial.rename(self.root / "found.json")


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def first_line(error: Exception) -> str:
    """A reason in one line."""
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[0]}"
