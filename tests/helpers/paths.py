"""Where things are in this repository."""

from pathlib import Path

ROOT = Path(__file__).parents[2]
TOOLS = ROOT / "tools"
DATA = ROOT / "tests" / "data"
PAGES = DATA / "pages"
"""The shipped pages: PDFs, images, rows, scans."""
