"""Packs to tensors: samples, positions, cu_seq_lens, collate."""
