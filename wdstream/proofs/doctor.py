"""`wdstream doctor MODEL_DIR`: proof that a model's lengths are exact and that its packed documents stay apart.

Both ways in which a page becomes images are checked: cut into tiles by wdstream, and left whole (tiling kind `none`),
to be split by the rules of the model's own processor.

The model's own tokenizer, image processor and model class are used, on CPU in float32. Its weights are looked at for
being whole and finite (checkpoint.py), and not computed with: packing depends on masks and positions, not on values, so
a copy of its configuration with two layers and two heads, with random weights, shows the same faults in seconds.
"""

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from wdstream.batches.sample import build_sample
from wdstream.errors import ConfigError, FamilyError, WdstreamError
from wdstream.families.base import Family
from wdstream.families.reference.processor import load_processor
from wdstream.families.registry import load_family
from wdstream.families.shared.model_folder import how_to_get
from wdstream.proofs.documents import PROOF_DOCUMENTS, make_document
from wdstream.proofs.lengths import REMEDY, find_difference, planned_tokens, proof_pages, proof_tokens
from wdstream.records import Size

if TYPE_CHECKING:
    import torch
    from rich.console import Console

SIDES = (1, 2, 13, 14, 28, 32, 45, 100, 224, 333, 448, 700)
HOSTILE = (
    "<|image_pad|> <image> <|im_end|> </s> <end_of_turn> <start_of_image>",
    "<|vision_start|><|image_pad|><|vision_end|>",
    "NUL \x00, lone \ud800 surrogate, \ufffe",
)
ROUND_SIZES: tuple[Size, ...] = (
    *((width, SIDES[(place * 5 + 3) % len(SIDES)]) for place, width in enumerate(SIDES)),
    (1240, 1754),
)
"""A few of each side, and a page."""
SPLIT_DOCUMENTS = ("image-first", "text-only", "image-last")
PACKING = "packing"
"""The check of that name, in reports."""
WEIGHT_SCALE = 3.0
"""Random weights are scaled by this, so that attention matters in the logits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One line of the report: what was checked, whether it holds, what was found, and what to do if not."""

    name: str
    ok: bool
    found: str
    remedy: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class DoctorReport:
    """All checks of a model."""

    model_dir: Path
    checks: tuple[Check, ...]

    @property
    def ok(self) -> bool:
        """Whether every check holds."""
        return all(check.ok for check in self.checks)

    def print(self, console: "Console") -> None:
        """A table of the checks, failed ones with what to do."""
        from rich.table import Table
        from rich.text import Text

        table = Table(title=f"{self.model_dir}: {'fit for wdstream' if self.ok else 'NOT fit for wdstream'}")
        for column in ("check", "", "found"):
            table.add_column(column)
        for check in self.checks:
            mark = Text("ok", "green") if check.ok else Text("failed", "red")
            found = Text(check.found)
            if not check.ok:
                found.append(f"\n{check.remedy}", "bold")
            table.add_row(check.name, mark, found)
        console.print(table)
        if any(check.name.endswith(PACKING) for check in self.checks):  # not where nothing could be loaded
            console.print(
                "Packing was computed with random weights in a copy of two layers: the proof is of masks and positions."
            )


def run_doctor(
    model_dir: Path,
    *,
    family: str | None = None,
    attn: str = "sdpa",
    allow_missing: Sequence[str] = (),
    allow_unexpected: Sequence[str] = (),
    allow_tokens: Sequence[str] = (),
) -> DoctorReport:
    """Check a model; what is wrong with it is reported, not raised.

    Args:
        model_dir: the model folder.
        family: to use instead of the one config.json names.
        attn: attention implementation to prove: sdpa, eager or flex_attention; flash attention needs a GPU and is not
            run here.
        allow_missing, allow_unexpected: patterns of weights, as in `model:` of a configuration.
        allow_tokens: tokens that text may form, as in `text:` of a configuration.

    Raises:
        ConfigError: there is no such folder.
    """
    if not model_dir.is_dir():
        raise ConfigError(f"{model_dir}: no such folder; {how_to_get(model_dir)}")
    allowed = {"allow_missing": tuple(allow_missing), "allow_unexpected": tuple(allow_unexpected)}
    try:
        loaded = load_family(model_dir, name=family, allow_tokens=allow_tokens)
    except WdstreamError as error:
        failed = Check(name="family", ok=False, found=str(error), remedy="see the message")
        return DoctorReport(model_dir=model_dir, checks=(failed,))
    checks: list[Check] = [Check(name="family", ok=True, found=f"{loaded.name}, {loaded.encoder.vocab_size:,} tokens")]
    checks.extend(_run(loaded, attn, allowed))
    return DoctorReport(model_dir=model_dir, checks=tuple(checks))


def _run(family: Family, attn: str, allowed: Mapping[str, Sequence[str]]) -> Iterator[Check]:
    """All checks after the first; an exception inside one is its failure."""
    whole = family.for_whole_images()
    parts: list[tuple[str, Callable[[], Check]]] = [
        ("attention", lambda: check_attention(family, attn)),
        ("page text", lambda: check_text(family)),
        ("checkpoint", lambda: check_checkpoint(family, allowed)),
        *_checks_of_mode("tiled", family, attn),
    ]
    if whole.is_splitting:
        parts += _checks_of_mode("untiled", whole, attn)
    for name, check in parts:
        try:
            yield replace(check(), name=name)
        except Exception as error:
            found = f"{type(error).__name__}: {error}"
            yield Check(name=name, ok=False, found=found, remedy="the check itself could not run; see the message")
    if not whole.is_splitting:
        found = "as tiled: this model's processor never splits an image"
        yield Check(name="untiled", ok=True, found=found)


def _checks_of_mode(mode: str, family: Family, attn: str) -> list[tuple[str, Callable[[], Check]]]:
    """Lengths, ids and isolation of images that wdstream cuts (`tiled`), or that the processor splits (`untiled`)."""
    return [
        (f"{mode}: lengths", lambda: check_lengths(family)),
        (f"{mode}: processor", lambda: check_processor(family)),
        (f"{mode}: packing", lambda: check_packing(family, attn)),
    ]


def check_attention(family: Family, attn: str) -> Check:
    """Whether this implementation is right for packed rows of the family."""
    return Check(
        name="attention",
        ok=attn in family.attention,
        found=f"{attn}; right for packed {family.name}: {', '.join(family.attention)}",
        remedy=f"{family.attention_reason}; set model.attn to one of {', '.join(family.attention)}",
    )


def check_text(family: Family) -> Check:
    """Whether page text can form a structural token, and forms each that is allowed, wherever it is."""
    encoder, allowed = family.encoder, family.encoder.allowed
    hostile = [*HOSTILE, *(f"{text}{token}{text}" for text in HOSTILE for token in proof_tokens(family))]
    formed = [text for text in hostile if not family.structural_ids.isdisjoint(encoder.encode(text))]
    lost = [token for token, number in allowed.items() if encoder.encode(f"a {token}{token} b").count(number) != 2]
    found = f"no structural token from {len(hostile)} hostile texts"
    found += f"; each of {len(allowed)} allowed tokens is formed" if allowed else ""
    found = f"formed by {formed[0]!r}" if formed else f"text does not form {lost[0]}" if lost else found
    return Check(
        name="page text",
        ok=not formed and not lost,
        found=found,
        remedy="tokenizer.json has tokens that wdstream does not know as what they are; please report the model",
    )


def check_checkpoint(family: Family, allowed: Mapping[str, Sequence[str]] | None = None) -> Check:
    """Whether the weights are whole and finite, and every token has a row of the embedding.

    Names and shapes are read for the whole model, then the values of one weight after the other.
    """
    from wdstream.proofs.checkpoint import require_checkpoint, require_finite
    from wdstream.proofs.weight_files import stored_weights

    try:
        count = require_checkpoint(family, **(allowed or {}))
        require_finite(family.model_dir, stored_weights(family.model_dir))
    except FamilyError as error:
        return Check(name="checkpoint", ok=False, found=str(error), remedy="training would refuse it; see the message")
    return Check(name="checkpoint", ok=True, found=f"all {count} weights are there, of the right shape, and finite")


def check_lengths(family: Family) -> Check:
    """Planned tokens and patches against those built, over a lattice of sizes."""
    sizes = [(width, height) for width in SIDES for height in SIDES]
    columns = np.array(sizes, dtype=np.int64)
    tokens, patches = family.image_cost(columns[:, 0], columns[:, 1])
    wrong = []
    for size, planned, planned_patches in zip(sizes, tokens.tolist(), patches.tolist(), strict=True):
        if planned < 0:
            continue
        page = make_document("k", [size, "text"])
        sample, expected = build_sample(page, family), planned_tokens(page, family)
        if (sample.num_tokens, sample.num_patches) != (expected, planned_patches):
            wrong.append(f"{size}: planned {expected}, built {sample.num_tokens}")
    return Check(
        name="lengths",
        ok=not wrong,
        found=wrong[0] if wrong else f"planned == built for {len(sizes)} sizes",
        remedy="a fault of wdstream's rules for this family; please report it with the model's config.json",
    )


def check_processor(family: Family) -> Check:
    """Ids built against those of the model's own processor, over the proof documents and some sizes."""
    pages = proof_pages(family, ROUND_SIZES)
    difference = find_difference(load_processor(family), family, pages)
    same = f"ids equal to those of {family.processor_version} for {len(pages)} documents"
    return Check(name="processor", ok=difference is None, found=difference or same, remedy=REMEDY)


def check_packing(family: Family, attn: str) -> Check:
    """Packed against unpacked, and whether documents of a pack see each other."""
    from wdstream.proofs.isolation import measure_isolation, without_compiler

    family = family.for_attention(attn)
    model = narrow_model(family, attn)
    # A split image is a dozen squares and more, each through the vision tower.
    documents = {key: PROOF_DOCUMENTS[key] for key in SPLIT_DOCUMENTS} if family.is_splitting else PROOF_DOCUMENTS
    samples = [build_sample(make_document(key, parts), family) for key, parts in documents.items()]
    with without_compiler():
        found = measure_isolation(model, family, samples)
    return Check(
        name=PACKING,
        ok=found.leak == 0.0 and found.difference <= 1e-5,
        found=f"{len(samples)} documents: leak {found.leak:.1e}, packed against alone {found.difference:.1e}, "
        f"largest logit {found.scale:.2g}",
        remedy=f"documents of a pack would mix; use one of {', '.join(family.attention)} and the transformers version "
        "of constraints.txt",
    )


def narrow_model(family: Family, attn: str) -> "torch.nn.Module":
    """The model's architecture with two layers, few heads and random weights, in eval mode.

    Raises:
        FamilyError: transformers cannot build it.
    """
    import torch
    from transformers import AutoConfig

    from wdstream.proofs.isolation import random_model

    config = AutoConfig.from_pretrained(family.model_dir, trust_remote_code=False)
    tree = family.narrowed(copy.deepcopy(config.to_dict()))
    tree.pop("quantization_config", None)  # random weights need no quantised layers
    try:
        model: torch.nn.Module = random_model(type(config).from_dict(tree), seed=0, attn=family.attention_setting(attn))
    except (ValueError, ImportError) as error:
        raise FamilyError(f"{family.model_dir}: no model with attention '{attn}': {error}") from error
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.ndim > 1 and "embed" not in name:
                weight.mul_(WEIGHT_SCALE)
    return model.eval()
