"""Public helpers for tests, ours and yours: tiny models, pages and documents, proofs of isolation and resuming.

from wdstream.testing import assert_resumes_exactly, make_pages
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from wdstream.proofs.documents import make_document, make_samples
    from wdstream.testing.assertions import assert_no_leak, assert_resumes_exactly
    from wdstream.testing.pages import make_pages
    from wdstream.testing.tiny.build import make_tiny_model

__all__ = ["assert_no_leak", "assert_resumes_exactly", "make_document", "make_pages", "make_samples", "make_tiny_model"]

# Imported on first use: pages need no torch.
_HOMES = {
    "assert_no_leak": "wdstream.testing.assertions",
    "assert_resumes_exactly": "wdstream.testing.assertions",
    "make_document": "wdstream.proofs.documents",
    "make_pages": "wdstream.testing.pages",
    "make_samples": "wdstream.proofs.documents",
    "make_tiny_model": "wdstream.testing.tiny.build",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'wdstream.testing' has no attribute '{name}'; it offers {', '.join(__all__)}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
