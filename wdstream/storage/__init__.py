"""Bytes: atomic files, locks, growing JSON lines, local and remote ranges. The one place for every read and write."""
