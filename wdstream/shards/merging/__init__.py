"""What is found out while the shards of a set are merged into an index, over all of them."""
