"""Raw files and pages: sources, text, segments, tile plans, labels. Pure functions, no torch."""
