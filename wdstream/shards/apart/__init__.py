"""Shards whose tars are elsewhere than their index: read there front to back, and found again by their address."""
