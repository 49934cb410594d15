"""Tiny checkpoints with random weights and real parts, one file a model line."""
