"""Model families, one file each: image blocks, positions, pixel layout."""
