"""Shards at rest: writer, reader, index, storage. No torch."""
