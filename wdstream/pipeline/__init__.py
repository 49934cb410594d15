"""The graph of a run: planned and streamed sources, one loader."""
