"""A checkpoint whose lengths are not exact is found before the first step, with all numbers."""

import copy
import shutil
from pathlib import Path

import numpy as np
import pytest

from wdstream.batches.sample import build_sample
from wdstream.errors import FamilyError
from wdstream.families.base import Family
from wdstream.families.qwen_vl import QwenVL
from wdstream.families.registry import load_family
from wdstream.proofs.lengths import planned_tokens, proof_pages, require_exact_lengths
from wdstream.records import Ints


class Longer(QwenVL):
    """Believes in one token more for each image, in the plan and in the ids alike."""

    def image_cost(self, widths: Ints, heights: Ints) -> tuple[Ints, Ints]:
        tokens, patches = super().image_cost(widths, heights)
        return tokens + 1, patches

    def image_ids(self, width: int, height: int) -> Ints:
        return np.concatenate([super().image_ids(width, height), [self.image_id]])


def test_exact_lengths_pass(families: dict[str, Family], whole_families: dict[str, Family]) -> None:
    for family in (families["qwen2_5_vl"], families["gemma3"], families["paligemma2"], whole_families["internvl"]):
        said = require_exact_lengths(family)
        assert said.startswith("lengths and ids of 5 documents are those of ")
        assert f"{family.processor_class} of transformers 5." in said


def test_planned_is_built(families: dict[str, Family]) -> None:
    family = families["smolvlm"]
    pages = proof_pages(family, [(1, 1), (700, 500)])
    assert len(pages) == 7
    for page in pages:
        assert planned_tokens(page, family) == build_sample(page, family).num_tokens


def test_other_ids_than_the_processors_are_refused(families: dict[str, Family]) -> None:
    family = copy.copy(families["qwen2_5_vl"])
    family.__class__ = Longer
    with pytest.raises(
        FamilyError,
        match=r"lengths are not exact for family qwen2_5_vl: images \[\(60, 90\)\]: planned 18 tokens, built 18, 17 by "
        r"Qwen2_5_VLProcessor of transformers 5\.",
    ):
        require_exact_lengths(family)


def test_documents_longer_than_the_family_takes_are_left_out(families: dict[str, Family]) -> None:
    family = copy.copy(families["paligemma2"])
    assert len(proof_pages(family)) == 5
    family.max_document_tokens = 30
    assert 0 < len(proof_pages(family)) < 5


def test_a_processor_that_does_not_run_is_reported(families: dict[str, Family], tmp_path: Path) -> None:
    model = Path(shutil.copytree(families["qwen2_5_vl"].model_dir, tmp_path / "model"))
    family = load_family(model)
    (model / "preprocessor_config.json").write_text('{"image_processor_type": "Nothing"}', encoding="utf-8")
    said = require_exact_lengths(family)
    assert said.startswith("lengths were not compared with Qwen2_5_VLProcessor of transformers 5.")


@pytest.mark.parametrize(
    ("content", "found"),
    [('{"eos_token": ', "Expecting value"), ('{"eos_token": 5}', "expected an object of texts"), ("[]", "expected an")],
)
def test_damaged_special_tokens_are_refused(
    families: dict[str, Family], tmp_path: Path, content: str, found: str
) -> None:
    """For which the processor does not run: nobody would see another reason."""
    model = Path(shutil.copytree(families["qwen2_5_vl"].model_dir, tmp_path / "model"))
    (model / "special_tokens_map.json").write_text(content)
    with pytest.raises(FamilyError, match=rf"special_tokens_map\.json is damaged: {found}.*bring it back"):
        require_exact_lengths(load_family(model))
