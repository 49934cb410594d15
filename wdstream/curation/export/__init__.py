"""Shards in the formats of others: tables of parquet and Arrow, and the index that megatron-energon reads."""
