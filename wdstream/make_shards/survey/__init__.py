"""The survey of make-shards: how many pages each file has, noted as it becomes known, and which make which shard."""
