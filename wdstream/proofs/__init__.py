"""Proofs that lengths are exact and that packed documents stay apart."""
