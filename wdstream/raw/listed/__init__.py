"""Lists of millions of files, in a few bytes each: packed in blocks, of which few are unpacked at a time."""
