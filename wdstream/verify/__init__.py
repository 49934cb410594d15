"""VERIFY: whether shards at rest are what was written, and what they hold is fit to train on. Nothing is changed.

index.json and columns ─► each tar by itself: structure, idx, meta, checksums, samples, images, text ─► duplicates
index_check.py            tar_check.py, page_check.py; in processes                                     duplicates.py
"""
