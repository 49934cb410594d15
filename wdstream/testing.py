"""Public helpers for tests, ours and yours: tiny checkpoints with random weights, made offline in seconds."""

from wdstream.families.tiny.build import make_tiny_model

__all__ = ["make_tiny_model"]
