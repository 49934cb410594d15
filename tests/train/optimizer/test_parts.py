"""Every parameter of every family is in the part that it should be: the real classes, by the names of their modules."""

from pathlib import Path

import pytest
import torch
from transformers import AutoConfig, AutoModelForImageTextToText

from wdstream.families.registry import FAMILIES
from wdstream.train.optimizer.parts import ModelParameter, model_parameters

PARTS = {
    "aya_vision": """
        embeddings: language_model.embed_tokens lm_head
        language: language_model.layers language_model.norm
        projector: multi_modal_projector.layernorm multi_modal_projector.linear_1
            multi_modal_projector.linear_2
        vision: vision_tower.embeddings vision_tower.encoder vision_tower.post_layernorm
        tables: vision_tower.embeddings.position_embedding.weight
    """,
    "gemma3": """
        embeddings: language_model.embed_tokens lm_head
        language: language_model.layers language_model.norm
        projector: multi_modal_projector.mm_input_projection_weight multi_modal_projector.mm_soft_emb_norm
        vision: vision_tower.embeddings vision_tower.encoder vision_tower.post_layernorm vision_tower.head
        tables: vision_tower.embeddings.position_embedding.weight vision_tower.head.probe
    """,
    "gemma4": """
        embeddings: language_model.embed_tokens lm_head language_model.embed_tokens_per_layer
        language: language_model.layers language_model.norm language_model.per_layer_model_projection
            language_model.per_layer_projection_norm
        projector: embed_vision.embedding_projection
        vision: vision_tower.patch_embedder vision_tower.encoder
        tables: vision_tower.patch_embedder.position_embedding_table
    """,
    "glm4v": """
        embeddings: language_model.embed_tokens lm_head
        language: language_model.layers language_model.norm
        projector: visual.merger visual.downsample
        vision: visual.embeddings visual.patch_embed visual.blocks visual.post_conv_layernorm
            visual.post_layernorm
        tables: visual.embeddings.position_embedding.weight
    """,
    "got_ocr2": """
        embeddings: language_model.embed_tokens lm_head
        language: language_model.layers language_model.norm
        projector: multi_modal_projector.conv_upsampler1 multi_modal_projector.conv_upsampler2
            multi_modal_projector.multimodal_projector
        vision: vision_tower.pos_embed vision_tower.patch_embed vision_tower.layers vision_tower.neck
        tables: vision_tower.pos_embed vision_tower.layers.0.attn.rel_pos_h
            vision_tower.layers.0.attn.rel_pos_w vision_tower.layers.1.attn.rel_pos_h
            vision_tower.layers.1.attn.rel_pos_w
    """,
    "idefics3": """
        embeddings: text_model.embed_tokens lm_head
        language: text_model.layers text_model.norm
        projector: connector.modality_projection
        vision: vision_model.embeddings vision_model.encoder vision_model.post_layernorm
        tables: vision_model.embeddings.position_embedding.weight
    """,
    "internvl": """
        embeddings: language_model.embed_tokens lm_head
        language: language_model.layers language_model.norm
        projector: multi_modal_projector.layer_norm multi_modal_projector.linear_1
            multi_modal_projector.linear_2
        vision: vision_tower.embeddings vision_tower.encoder
        tables: vision_tower.embeddings.cls_token vision_tower.embeddings.position_embeddings
    """,
    "lighton_ocr": """
        embeddings: language_model.embed_tokens lm_head
        language: language_model.layers language_model.norm
        projector: vision_projection.norm vision_projection.patch_merger vision_projection.linear_1
            vision_projection.linear_2
        vision: vision_encoder.patch_conv vision_encoder.ln_pre vision_encoder.transformer
        tables:
    """,
    "llava": """
        embeddings: language_model.embed_tokens lm_head
        language: language_model.layers language_model.norm
        projector: multi_modal_projector.linear_1 multi_modal_projector.linear_2
        vision: vision_tower.patch_conv vision_tower.ln_pre vision_tower.transformer
        tables:
    """,
    "llava_onevision": """
        embeddings: language_model.embed_tokens lm_head
        language: language_model.layers language_model.norm
        projector: image_newline multi_modal_projector.linear_1 multi_modal_projector.linear_2
        vision: vision_tower.embeddings vision_tower.encoder vision_tower.post_layernorm
        tables: vision_tower.embeddings.position_embedding.weight
    """,
    "mistral3": """
        embeddings: language_model.embed_tokens lm_head
        language: language_model.layers language_model.norm
        projector: multi_modal_projector.norm multi_modal_projector.patch_merger
            multi_modal_projector.linear_1 multi_modal_projector.linear_2
        vision: vision_tower.patch_conv vision_tower.ln_pre vision_tower.transformer
        tables:
    """,
    "paddleocr_vl": """
        embeddings: language_model.embed_tokens lm_head
        language: language_model.layers language_model.norm
        projector: projector.pre_norm projector.linear_1 projector.linear_2
        vision: visual.vision_model
        tables: visual.vision_model.embeddings.position_embedding.weight
    """,
    "paligemma": """
        embeddings: language_model.embed_tokens lm_head
        language: language_model.layers language_model.norm
        projector: multi_modal_projector.linear
        vision: vision_tower.embeddings vision_tower.encoder vision_tower.post_layernorm
        tables: vision_tower.embeddings.position_embedding.weight
    """,
    "paligemma2": """
        embeddings: language_model.embed_tokens lm_head
        language: language_model.layers language_model.norm
        projector: multi_modal_projector.linear
        vision: vision_tower.embeddings vision_tower.encoder vision_tower.post_layernorm
        tables: vision_tower.embeddings.position_embedding.weight
    """,
    "qwen2_vl": """
        embeddings: language_model.embed_tokens lm_head
        language: language_model.layers language_model.norm
        projector: visual.merger
        vision: visual.patch_embed visual.blocks
        tables:
    """,
    "qwen2_5_vl": """
        embeddings: language_model.embed_tokens lm_head
        language: language_model.layers language_model.norm
        projector: visual.merger
        vision: visual.patch_embed visual.blocks
        tables:
    """,
    "qwen3_vl": """
        embeddings: language_model.embed_tokens lm_head
        language: language_model.layers language_model.norm
        projector: visual.merger visual.deepstack_merger_list
        vision: visual.patch_embed visual.pos_embed visual.blocks
        tables: visual.pos_embed.weight
    """,
    "smolvlm": """
        embeddings: text_model.embed_tokens lm_head
        language: text_model.layers text_model.norm
        projector: connector.modality_projection
        vision: vision_model.embeddings vision_model.encoder vision_model.post_layernorm
        tables: vision_model.embeddings.position_embedding.weight
    """,
}
"""Family: the modules of each part, without `model.`; `tables` are those that do not decay, besides the embeddings."""


def read(text: str) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    part = ""
    for word in text.split():
        if word.endswith(":"):
            part = word[:-1]
            found[part] = set()
        else:
            found[part].add(word)
    return found


def module_of(name: str, depth: int) -> str:
    name = name.removeprefix("model.").removesuffix(".weight").removesuffix(".bias")
    return ".".join(name.split(".")[:depth])


def parameters_of(model: Path) -> list[ModelParameter]:
    with torch.device("meta"):  # names and shapes only
        empty = AutoModelForImageTextToText.from_config(AutoConfig.from_pretrained(model))
    empty.tie_weights()
    names = [name for name, _ in empty.named_parameters(remove_duplicate=False)]
    found = model_parameters(empty)
    assert sorted(names) == sorted(name for each in found for name in each.names), "each exactly once"
    return found


def test_every_family_has_a_line() -> None:
    assert {*PARTS} == {*FAMILIES}


@pytest.mark.parametrize("family", PARTS)
def test_parts_of_a_family(tiny_models: dict[str, Path], family: str) -> None:
    found: dict[str, set[str]] = {part: set() for part in ("embeddings", "language", "projector", "vision", "tables")}
    for each in parameters_of(tiny_models[family]):
        found[each.part] |= {module_of(name, 3 if each.part == "embeddings" else 2) for name in each.names}
        if each.is_table and each.part != "embeddings" and each.value.ndim > 1:
            found["tables"].add(each.names[0].removeprefix("model."))
    assert found == read(PARTS[family])
