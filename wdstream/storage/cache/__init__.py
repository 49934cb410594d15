"""A cache on this machine of what is at a URL, shared by all processes: blocks of shards, and columns of indexes."""
