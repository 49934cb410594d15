"""Which pages are held out: a pure rule of a document's id, so that pages that come later move none that are there.

    key of a page ─► document (of its file, its name, its folder, a metadata field) ─► 64-bit hash ─► below a threshold?

Pages of one document have one hash, so they are all held out or none. A share is a threshold by itself; a number of
pages is made one once, from the documents there are, and kept in the index (shards/catalog.py).
"""

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray

from wdstream.errors import ConfigError
from wdstream.records import Bools

Split = Literal["train", "held_out", "all"]
"""The pages of a dataset that a plan takes: all but those held out, those alone, or all."""

Hashes = NDArray[np.uint64]
_SPACE = 1 << 64
_SHARE = re.compile(r"([0-9]{1,2}(?:\.[0-9]{1,12})?)\s*%")
_COUNT = re.compile(r"[1-9][0-9]{0,14}")
_NUMBERED = re.compile(r"(.*)@([0-9]+)", re.DOTALL)
_PAGE_DIGITS = 5
"""Of the number after `@` in the key of a page of a file; rows of a file have more (raw/source.py)."""
_NUMBER_AT_END = re.compile(r"(?:(?<![^\W\d_])(?:page|seite|p|pg|f|fol|folio|s))?[\s_.#-]*[0-9]+$", re.IGNORECASE)
_SEPARATORS = " _.#-"
_LARGE_SHARE = 10
"""A document with more than a tenth of all pages is named: perhaps it is not one."""
_TAR_FOLDER = ".tar"


def document_of_file(key: str) -> str:
    """`pdf/report` of `pdf/report@0003`: the raw file. A row of a file, and an image, are documents themselves."""
    numbered = _NUMBERED.fullmatch(key)
    return numbered[1] if numbered and len(numbered[2]) <= _PAGE_DIGITS else key


def document_of_name(key: str) -> str:
    """`report` of `report_p3` and `report-0003`: the key without the number at its end.

    Where nothing but a number is left, the folder; without a folder, or with a tar for one, the page itself.
    """
    if _NUMBERED.fullmatch(key):
        return document_of_file(key)
    folder, slash, name = key.rpartition("@" if "@" in key else "/")
    bare = _NUMBER_AT_END.sub("", name).rstrip(_SEPARATORS)
    if bare == name or bare:
        return f"{folder}{slash}{bare or name}"
    return key if not folder or folder.endswith(_TAR_FOLDER) else folder


def document_of_folder(key: str) -> str:
    """`books/first` of `books/first/0003`; a page without a folder is a document itself."""
    return key.rpartition("/")[0] or key


def document_of_page(key: str) -> str:
    """Every page by itself."""
    return key


DOCUMENT_RULES: Mapping[str, Callable[[str], str]] = {
    "file": document_of_file,
    "name": document_of_name,
    "folder": document_of_folder,
    "page": document_of_page,
}
"""What a document is, by the key of a page; anything else is the name of a metadata field."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldOutRule:
    """The rule of an index.

    Attributes:
        asked: what was asked for, "2%" or "500".
        by: one of DOCUMENT_RULES, or a metadata field; a page without the field goes by its file.
        seed: another gives another choice.
        threshold: documents whose hash is below it are held out, 1 to 2 ** 64.
    """

    asked: str
    by: str
    seed: int
    threshold: int

    @property
    def field(self) -> str | None:
        """The metadata field that documents go by; None where keys tell."""
        return field_of(self.by)

    @property
    def fingerprint(self) -> str:
        """16 hexadecimal digits; names the column of the index."""
        return hashlib.blake2b(json.dumps(self.to_json(), sort_keys=True).encode(), digest_size=8).hexdigest()

    def select(self, hashes: Hashes) -> Bools:
        """Which pages are held out, by the hashes of their documents; both (n,)."""
        return hashes <= np.uint64(self.threshold - 1)

    def answers(self, request: "HoldOut") -> bool:
        """Whether this is the rule that a request led to, or would lead to."""
        return (self.asked, self.by, self.seed) == (request.asked, request.by, request.seed)

    def describe(self) -> str:
        """In words: `2% by file`."""
        return f"{self.asked} by {self.by}" + (f", seed {self.seed}" if self.seed else "")

    def to_json(self) -> dict[str, object]:
        """As in `index.json`; JSON's numbers do not hold the threshold everywhere."""
        return asdict(self) | {"threshold": f"{self.threshold:x}"}

    @classmethod
    def from_json(cls, tree: Mapping[str, object]) -> Self:
        """The inverse of `to_json`.

        Raises:
            ValueError, KeyError: it is none.
        """
        asked, by, seed, threshold = (tree[name] for name in ("asked", "by", "seed", "threshold"))
        if not (isinstance(asked, str) and isinstance(by, str) and isinstance(seed, int)):
            raise ValueError(f"no rule of what is held out: {tree!r:.200}")
        rule = cls(asked=asked, by=by, seed=seed, threshold=int(str(threshold), 16))
        if not 1 <= rule.threshold <= _SPACE:
            raise ValueError(f"no threshold of 64 bits: {rule.threshold}")
        return rule


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldOut:
    """A request to hold pages out: a share of the documents, or a number of pages; the rest as in HoldOutRule."""

    asked: str
    by: str
    seed: int = 0

    def __post_init__(self) -> None:
        check_asked(self.asked)

    def rule(self, hashes: Hashes) -> HoldOutRule:
        """The rule for pages (n,) with these hashes of their documents; a share does not look at them.

        Documents are taken from the lowest hash on until the number of pages is reached or passed.
        """
        share = _SHARE.fullmatch(self.asked)
        if share is not None:
            threshold = int(Fraction(share[1]) / 100 * _SPACE)
        else:
            ranked = np.sort(hashes)
            threshold = int(ranked[min(int(self.asked), len(ranked)) - 1]) + 1 if len(ranked) else 1
        return HoldOutRule(asked=self.asked, by=self.by, seed=self.seed, threshold=threshold)


def check_asked(asked: str) -> str:
    """A share or a number of pages, as it was given.

    Raises:
        ConfigError: it is neither.
    """
    share = _SHARE.fullmatch(asked)
    is_share = share is not None and int(Fraction(share[1]) / 100 * _SPACE) >= 1
    if not is_share and _COUNT.fullmatch(asked) is None:
        raise ConfigError(
            f"holdout: {asked!r} is neither a share between 0% and 100%, such as 2%, nor a number of pages, such as 500"
        )
    return asked


def field_of(by: str) -> str | None:
    """The metadata field that `by` names, `meta_file` for one called `file`; None for one of DOCUMENT_RULES."""
    if by in DOCUMENT_RULES:
        return None
    own = by.removeprefix("meta_")
    return own if own in DOCUMENT_RULES else by


def hash_documents(keys: Iterable[str], values: Sequence[object] | None, *, by: str, seed: int) -> Hashes:
    """The hash of each page's document, uint64 (n,).

    Args:
        keys: of the pages.
        values: of the metadata field that `by` names, None for pages that lack it; None where keys tell.
        by: see HoldOutRule.
        seed: see HoldOutRule.
    """
    document = DOCUMENT_RULES.get(by, document_of_file)
    pairs: Iterable[tuple[str, object]] = ((key, None) for key in keys)
    if values is not None:
        pairs = zip(keys, values, strict=True)
    names = (document(key) if value is None else _text(value) for key, value in pairs)
    start, known = f"{seed}\n".encode(), dict[str, int]()
    hashes = (known[name] if name in known else known.setdefault(name, _hash(start, name)) for name in names)
    return np.fromiter(hashes, np.uint64)


def _hash(start: bytes, name: str) -> int:
    return int.from_bytes(
        hashlib.blake2b(start + name.encode(errors="surrogatepass"), digest_size=8).digest(), "little"
    )


def _text(value: object) -> str:
    """A value of metadata; 1 and 1.0 are one, as a field may hold whole numbers in one shard and others in the next."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def side_digest(split: Split, held_out: Sequence[int] | NDArray[np.generic] | None) -> str:
    """What of a split decides a plan, for its fingerprints; "" where it has none, or takes all pages."""
    if held_out is None or split == "all":
        return ""
    bits = np.packbits(np.asarray(held_out, dtype=np.bool_))
    return f"{split} {hashlib.blake2b(bits.tobytes(), digest_size=8).hexdigest()}"


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldOutCounts:
    """What a rule holds out, in figures.

    Attributes:
        rule: the rule.
        pages, all_pages: held out, and in total.
        documents, all_documents: the same of documents.
        largest, largest_key: pages of the largest document, and the key of one of them.
        lacking: pages without the metadata field that documents go by.
    """

    rule: HoldOutRule
    pages: int
    all_pages: int
    documents: int
    all_documents: int
    largest: int
    largest_key: str
    lacking: int = 0

    def require_both_sides(self) -> None:
        """Refuse a rule that holds out nothing, or everything.

        Raises:
            ConfigError: says which, and what to ask for.
        """
        if 0 < self.pages < self.all_pages:
            return
        what = "no page" if not self.pages else "every page"
        advice = (
            "ask for a larger share, or for a number of pages (such as 10), or give another seed"
            if not self.pages
            else "ask for fewer"
        )
        raise ConfigError(
            f"holdout {self.rule.describe()}: {what} would be held out, of {self.all_pages:,} pages in "
            f"{self.all_documents:,} documents: {advice}; documents are held out whole, and `by` says what one is "
            f"({', '.join(DOCUMENT_RULES)}, or a metadata field)"
        )

    def lines(self) -> list[str]:
        """For a person: how much it is, and what looks as if documents were something else."""
        share = 100 * self.pages / max(self.all_pages, 1)
        lines = [
            f"held out ({self.rule.describe()}): {self.pages:,} of {self.all_pages:,} pages ({share:.2f} %), "
            f"{self.documents:,} of {self.all_documents:,} documents"
        ]
        if self.largest > 1 and self.largest * _LARGE_SHARE > self.all_pages:
            lines.append(
                f"note: {self.largest:,} of {self.all_pages:,} pages count as one document, that of "
                f"{self.largest_key!r}: all are held out, or none. If they are several, say what a document is "
                f"({', '.join(DOCUMENT_RULES)}, or a metadata field)"
            )
        if self.lacking:
            lines.append(f"note: {self.lacking:,} pages have no {self.rule.field!r} and go by their files")
        return lines


def count_held_out(
    rule: HoldOutRule, hashes: Hashes, key_of: Callable[[int], str], *, lacking: int = 0
) -> HeldOutCounts:
    """What a rule holds out of pages (n,) with these hashes; `key_of` gives the key of a page by its number."""
    documents, first, counts = np.unique(hashes, return_index=True, return_counts=True)
    largest = int(np.argmax(counts)) if len(counts) else 0
    return HeldOutCounts(
        rule=rule,
        pages=int(np.count_nonzero(rule.select(hashes))),
        all_pages=len(hashes),
        documents=int(np.count_nonzero(rule.select(documents))),
        all_documents=len(documents),
        largest=int(counts[largest]) if len(counts) else 0,
        largest_key=key_of(int(first[largest])) if len(counts) else "",
        lacking=lacking,
    )
