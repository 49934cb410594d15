"""A model small enough to learn reading on a CPU, for `wdstream demo --learn`: Qwen2.5-VL with 0.4 M random weights."""

from dataclasses import replace

from wdstream.testing.tiny.qwen_vl import QWEN2_5_VL
from wdstream.testing.tiny.recipe import Tree

READER_WIDTH, READER_VISION_WIDTH = 96, 64
READER_SPREAD = {"initializer_range": 0.05}
"""Wider than the usual 0.02, which is meant for layers ten times as wide."""


def _sizes(key: str, **sizes: object) -> Tree:
    return {**QWEN2_5_VL.config[key], **READER_SPREAD, **sizes}


READER = replace(
    QWEN2_5_VL,
    # White paper is 0, ink is -2. By the usual means a white page is a large constant in all patches, next to which the
    # letters are small: nothing is learned in the first hundreds of steps.
    preprocessor_config={**QWEN2_5_VL.preprocessor_config, "image_mean": [1.0] * 3, "image_std": [0.5] * 3},
    config={
        **QWEN2_5_VL.config,
        "text_config": _sizes(
            "text_config",
            hidden_size=READER_WIDTH,
            intermediate_size=2 * READER_WIDTH,
            num_hidden_layers=2,
            # Columns of an image have the lowest frequencies of M-RoPE: with the usual base they would turn so slowly
            # that in a head of 24 numbers one column is hardly another than the next.
            rope_parameters={
                **QWEN2_5_VL.config["text_config"]["rope_parameters"],
                "mrope_section": [2, 2, 8],
                "rope_theta": 100.0,
            },
        ),
        "vision_config": _sizes(
            "vision_config",
            hidden_size=READER_VISION_WIDTH,
            intermediate_size=2 * READER_VISION_WIDTH,
            out_hidden_size=READER_WIDTH,
        ),
    },
)
