"""Is a document as long as planned, and are its ids those of the model's own processor? For a few documents, at once.

    planned    from sizes and token counts alone, as the plan reckons
    built      the ids that are trained on
    processor  what the model's own Hugging Face processor makes of the same text and tiles

The tests compare all sizes and texts; `wdstream doctor` and the first step of a run ask for the model at hand.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from wdstream.batches.sample import build_sample
from wdstream.errors import FamilyError, WdstreamError
from wdstream.families.base import Family
from wdstream.families.reference.processor import comparable, load_processor, processor_ids
from wdstream.proofs.documents import PROOF_DOCUMENTS, make_document
from wdstream.records import LabelledPage, Size, TextSegment

_TOKENS_TRIED = 16
_SPECIAL_TOKENS = "special_tokens_map.json"
_BRING_BACK = "bring it back from where the model came from"
REMEDY = "use the transformers version of constraints.txt, or report this model with its config.json"


def proof_pages(family: Family, sizes: Iterable[Size] = ()) -> list[LabelledPage]:
    """Documents of every kind, and one for each of `sizes`, as both sides read them alike; none the family refuses."""
    pages = [make_document(key, parts) for key, parts in PROOF_DOCUMENTS.items()]
    if tokens := proof_tokens(family):
        pages.append(make_document("allowed", [(60, 90), f"Text {tokens[0]}, then {' a'.join(tokens)}{tokens[0]}b"]))
    pages += [make_document("k", [size, "Text 12.\n"]) for size in sizes if _cost(family, [size]) > 0]
    longest = family.max_document_tokens
    read = [comparable(page, family) for page in pages]
    return [page for page in read if longest is None or planned_tokens(page, family) <= longest]


def proof_tokens(family: Family) -> list[str]:
    """Some of the tokens that text may form, from all over the list."""
    tokens = list(family.encoder.allowed)
    return tokens[:: max(1, len(tokens) // _TOKENS_TRIED)]


def require_exact_lengths(family: Family) -> str:
    """Refuse to continue with a model folder whose processor makes other ids than wdstream; takes a second or two.

    Returns:
        What was compared, in words; or that the processor does not run here, which is no reason to stop.

    Raises:
        FamilyError: gives the lengths, and the processor's class and version; or names a file that is damaged, for
            which it does not run.
    """
    pages = proof_pages(family)
    try:
        found = find_difference(load_processor(family), family, pages)
    except WdstreamError:  # ours, not the processor's
        raise
    except Exception as error:  # a program of others, whose parts may want what is not installed
        refuse_damaged_settings(family.model_dir)
        reason = f"{type(error).__name__}: {error}"
        return f"lengths were not compared with {family.processor_version}, which does not run here: {reason}"
    if found is not None:
        raise FamilyError(f"{family.model_dir}: lengths are not exact for family {family.name}: {found}; {REMEDY}")
    return f"lengths and ids of {len(pages)} documents are those of {family.processor_version}"


def refuse_damaged_settings(folder: Path) -> None:
    """Check that the JSON files of a model folder are JSON, and that its special tokens are texts.

    Raises:
        FamilyError: names the first that is not.
    """
    for file in sorted(folder.glob("*.json")):
        try:
            tree = json.loads(file.read_bytes())
        except (OSError, ValueError, RecursionError) as error:
            raise FamilyError(f"{file} is damaged: {error}; {_BRING_BACK}") from error
        if file.name == _SPECIAL_TOKENS and not _are_tokens(tree):
            raise FamilyError(f"{file} is damaged: expected an object of texts, found {tree!r:.80}; {_BRING_BACK}")


def _are_tokens(tree: object) -> bool:
    """Whether this is an object of special tokens: texts, objects with their text as `content`, or lists of these."""
    if not isinstance(tree, dict):
        return False
    flat = [token for value in tree.values() for token in (value if isinstance(value, list) else [value])]
    return all(isinstance(token.get("content") if isinstance(token, dict) else token, str) for token in flat)


def find_difference(processor: Any, family: Family, pages: Iterable[LabelledPage]) -> str | None:
    """The first page whose planned length or ids differ, in words; None when all are equal."""
    for page in pages:
        planned, ours = planned_tokens(page, family), build_sample(page, family).input_ids.tolist()
        theirs = [*processor_ids(processor, family, page), family.eos_id]
        if planned != len(ours) or ours != theirs:
            return (
                f"images {sizes_of(page)}: planned {planned} tokens, built {len(ours)}, {len(theirs)} by "
                f"{family.processor_version}"
            )
    return None


def planned_tokens(page: LabelledPage, family: Family) -> int:
    """Tokens of a document by sizes of tiles and counts of texts alone."""
    texts = sum(family.text_cost(part.text) for part in page.segments if isinstance(part, TextSegment))
    return family.prefix_tokens + _cost(family, sizes_of(page)) + texts + 1


def sizes_of(page: LabelledPage) -> list[Size]:
    """(width, height) of the tiles of a page."""
    return [(tile.shape[1], tile.shape[0]) for tile in page.tiles]


def _cost(family: Family, sizes: list[Size]) -> int:
    """Tokens of images; below 0 for one that is refused."""
    columns = np.array(sizes, dtype=np.int64).reshape(-1, 2)
    return int(family.image_cost(columns[:, 0], columns[:, 1])[0].sum())
