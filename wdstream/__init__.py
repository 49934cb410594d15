"""wdstream: raw document pages to an exactly planned, packed, resumable stream of training batches."""
