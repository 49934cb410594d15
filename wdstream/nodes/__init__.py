"""Graph nodes over torchdata.nodes."""
