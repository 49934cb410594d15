"""The Hugging Face side of the comparisons."""

from pathlib import Path
from typing import Any

from wdstream.families.base import Family
from wdstream.families.reference import load_processor
from wdstream.families.registry import load_family


def load_both(path: Path) -> tuple[Family, Any]:
    """The family of a checkpoint, and the checkpoint's own processor."""
    family = load_family(path)
    return family, load_processor(family)
