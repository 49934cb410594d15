"""Bytes: atomic files, locks, growing JSON lines, local and remote ranges. Every file is written through here."""
