"""Work on whole sets of shards: what is in them, held-out shares, copies, other sizes and other formats."""
