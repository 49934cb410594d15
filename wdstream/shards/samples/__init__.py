"""Parts of samples as rows: what is in them, and samples of which a map says which part is what."""
