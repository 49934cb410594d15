"""Tiny models with random weights and real tokenizers and processors, one file per model line."""
