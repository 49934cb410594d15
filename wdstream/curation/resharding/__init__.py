"""Pages of indexed shards into new shards: which and in what order, how they are cut and written, what they have."""
