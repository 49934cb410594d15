"""Tiling: policy, grids, labels, plug-ins. Pure functions of sizes; no pixels and no torch."""
