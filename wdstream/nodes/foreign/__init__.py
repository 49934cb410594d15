"""Pipelines of other libraries as source nodes."""
