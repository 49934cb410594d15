"""Shards that are made into a store: a folder of this machine stands for it, and what is complete is sent."""
