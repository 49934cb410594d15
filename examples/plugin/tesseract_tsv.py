"""A source of one's own: the TSV files of tesseract, next to the images that it read."""

import csv
from itertools import groupby
from pathlib import Path

from wdstream.errors import PageError

WORD = "5"


def read_tsv(path: Path):
    """A row for each page: its words line by line, and how sure tesseract is of them."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE) if row["level"] == WORD]
    if not rows:
        raise PageError("tesseract found no word")
    for number, words in groupby(rows, key=lambda row: int(row["page_num"])):
        page = list(words)
        lines = groupby(page, key=lambda row: (row["block_num"], row["par_num"], row["line_num"]))
        yield {
            "text": "\n".join(" ".join(row["text"] for row in line) for _place, line in lines),
            "image": path.with_suffix(".png").name,
            "page": number,
            "text_confidence": round(sum(float(row["conf"]) for row in page) / len(page) / 100, 4),
        }
